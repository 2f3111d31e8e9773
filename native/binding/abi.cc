#include "binding/abi.h"

#include <cstddef>
#include <initializer_list>

#include "core/backend.h"

namespace softpack {
namespace {

// The fields of a view by name: what the numbers of SoftpackViewField must agree with.
struct Rectangle {
  int32_t top, left, height, width;
};
struct Part {
  int32_t image;
  Rectangle crop;
  int32_t flip;
};
struct View {
  Part own;
  Part partner;
  Rectangle box;
};

constexpr size_t FieldAt(size_t offset) { return offset / sizeof(int32_t); }

static_assert(FieldAt(offsetof(Part, image)) == kSoftpackViewImage, "image");
static_assert(FieldAt(offsetof(Part, crop)) == kSoftpackViewCrop, "crop");
static_assert(FieldAt(offsetof(Part, flip)) == kSoftpackViewFlip, "flip");
static_assert(FieldAt(offsetof(View, partner)) == kSoftpackViewPartner, "partner");
static_assert(FieldAt(offsetof(View, box)) == kSoftpackViewBox, "box");
static_assert(FieldAt(sizeof(View)) == kSoftpackViewFields, "fields");

struct Constant {
  const char* name;
  uint32_t value;
};

Napi::Object Table(Napi::Env env, std::initializer_list<Constant> constants) {
  Napi::Object table = Napi::Object::New(env);
  for (const Constant& constant : constants) {
    table.Set(constant.name, Napi::Number::New(env, constant.value));
  }
  return table;
}

}  // namespace

Napi::Object AbiTable(Napi::Env env) {
  Napi::Object abi = Napi::Object::New(env);
  abi.Set("dtypes", Table(env, {{"float32", kSoftpackFloat32},
                                {"float16", kSoftpackFloat16},
                                {"bfloat16", kSoftpackBfloat16}}));
  abi.Set("dtypeBytes", Table(env, {{"float32", SoftpackDtypeBytes(kSoftpackFloat32)},
                                    {"float16", SoftpackDtypeBytes(kSoftpackFloat16)},
                                    {"bfloat16", SoftpackDtypeBytes(kSoftpackBfloat16)}}));
  abi.Set("heads", Table(env, {{"identity", kSoftpackHeadIdentity},
                               {"clamp", kSoftpackHeadClamp},
                               {"softmax", kSoftpackHeadSoftmax}}));
  abi.Set("methods", Table(env, {{"auto", kSoftpackMethodAuto},
                                 {"latent", kSoftpackMethodLatent},
                                 {"table", kSoftpackMethodTable},
                                 {"fixed", kSoftpackMethodFixed},
                                 {"bfloat", kSoftpackMethodBfloat},
                                 {"split", kSoftpackMethodSplit}}));
  abi.Set("precisions", Table(env, {{"exact", kSoftpackPrecisionExact},
                                    {"fast", kSoftpackPrecisionFast},
                                    {"fastest", kSoftpackPrecisionFastest}}));
  abi.Set("losses",
          Table(env, {{"kl", kSoftpackLossKl}, {"cross-entropy", kSoftpackLossCrossEntropy}}));
  abi.Set("statuses", Table(env, {{"ok", kSoftpackOk},
                                  {"invalidArgument", kSoftpackInvalidArgument},
                                  {"invalidCodes", kSoftpackInvalidCodes},
                                  {"outOfMemory", kSoftpackOutOfMemory},
                                  {"unsupportedMethod", kSoftpackUnsupportedMethod},
                                  {"deviceLost", kSoftpackDeviceLost},
                                  {"notFinite", kSoftpackNotFinite},
                                  {"deviceRefused", kSoftpackDeviceRefused}}));
  abi.Set("view", Table(env, {{"image", kSoftpackViewImage},
                              {"crop", kSoftpackViewCrop},
                              {"flip", kSoftpackViewFlip},
                              {"partner", kSoftpackViewPartner},
                              {"box", kSoftpackViewBox},
                              {"fields", kSoftpackViewFields}}));
  abi.Set("resamples", Table(env, {{"bilinear", kSoftpackResampleBilinear},
                                   {"antialias", kSoftpackResampleAntialias}}));
  abi.Set("rounds", Table(env, {{"none", kSoftpackRoundNone}, {"u8", kSoftpackRoundU8}}));
  abi.Set("limits", Table(env, {{"maxSide", SOFTPACK_MAX_SIDE}}));
  return abi;
}

}  // namespace softpack
