// The addon's methods: each reads its arguments and runs one operation of the backend, now or
// later. The addon keeps no state, in the process or in an environment, so any number of threads
// may load it.
#include "binding/abi.h"
#include "binding/arguments.h"
#include "binding/augment.h"
#include "binding/decoder.h"
#include "binding/device_bytes.h"
#include "binding/device_module.h"
#include "binding/encoder.h"
#include "binding/label_calls.h"
#include "binding/latent_decoder.h"
#include "binding/napi_setup.h"
#include "binding/quantiser.h"
#include "binding/rans.h"
#include "binding/token_labels.h"
#include "binding/work.h"
#include "core/backend.h"
#include "cpu/cpu_backend.h"

namespace softpack {
namespace {

// Raised with every change to a method here or to its arguments, together with ADDON_VERSION of
// src/kernels/addon.ts, which refuses an addon of another version.
constexpr uint32_t kAddonVersion = 11;

using Reader = Work (*)(Arguments& arguments);

template <Reader Read>
Napi::Value Now(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunNow(arguments, Read(arguments));
}

template <Reader Read>
Napi::Value Later(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunLater(arguments, Read(arguments));
}

// project(a: Float32Array, b: Float32Array, out: Float32Array, rows: number, inner: number,
//         columns: number, transposeA: boolean, transposeB: boolean, accumulate: boolean,
//         threads: number): number
// projectAsync(the same): Promise<number>
Work ReadProject(Arguments& arguments) {
  SoftpackProjectArgs args = {};
  args.rows = arguments.Size(3, "rows");
  args.inner = arguments.Size(4, "inner");
  args.columns = arguments.Size(5, "columns");
  args.a = arguments.Floats(0, "a", arguments.Product("a", args.rows, args.inner));
  args.b = arguments.Floats(1, "b", arguments.Product("b", args.inner, args.columns));
  args.out = arguments.Floats(2, "out", arguments.Product("out", args.rows, args.columns));
  args.transpose_a = arguments.Flag(6, "transposeA");
  args.transpose_b = arguments.Flag(7, "transposeB");
  args.accumulate = arguments.Flag(8, "accumulate");
  args.threads = arguments.Threads(9);
  return [args, backend = arguments.backend()] { return backend->project(&args); };
}

// nearest(vectors: Float32Array, codebook: Float32Array, out: Uint16Array, width: number,
//         threads: number): number
// nearestAsync(the same): Promise<number>
Work ReadNearest(Arguments& arguments) {
  SoftpackNearestArgs args = {};
  args.width = arguments.Size(3, "width", 1);
  const Span<float> vectors = arguments.Floats(0, "vectors");
  const Span<float> codebook = arguments.Floats(1, "codebook");
  if (vectors.length % args.width != 0) arguments.Refuse("vectors", "whole vectors");
  args.vectors = vectors.data;
  args.codebook = codebook.data;
  args.count = vectors.length / args.width;
  args.levels = arguments.Levels(codebook, args.width, 65536);
  args.out = arguments.Words(2, "out", args.count);
  args.threads = arguments.Threads(4);
  return [args, backend = arguments.backend()] { return backend->nearest(&args); };
}

void CheckBits(const Arguments& arguments, const char* name, uint64_t bytes, uint64_t offset,
               uint64_t count, uint32_t bits) {
  // Offsets are below 2^53 and counts below 2^48, so the sum does not wrap.
  if (offset + count * bits > bytes * 8) arguments.Refuse(name, "room for all indices");
}

// pack(indices: Uint16Array, bits: number, out: Uint8Array, bitOffset: number): number
Work ReadPack(Arguments& arguments) {
  SoftpackPackArgs args = {};
  const Span<uint16_t> indices = arguments.Words(0, "indices");
  const Span<uint8_t> bytes = arguments.Bytes(2, "out");
  args.bits = arguments.Small(1, "bits", 1, 16);
  args.bit_offset = arguments.Size(3, "bitOffset");
  args.count = indices.length;
  CheckBits(arguments, "out", bytes.length, args.bit_offset, args.count, args.bits);
  args.indices = indices.data;
  args.bytes = bytes.data;
  return [args, backend = arguments.backend()] { return backend->pack(&args); };
}

// unpack(packed: Uint8Array, bits: number, out: Uint16Array, bitOffset: number): number
Work ReadUnpack(Arguments& arguments) {
  SoftpackUnpackArgs args = {};
  const Span<uint8_t> bytes = arguments.Bytes(0, "packed");
  const Span<uint16_t> indices = arguments.Words(2, "out");
  args.bits = arguments.Small(1, "bits", 1, 16);
  args.bit_offset = arguments.Size(3, "bitOffset");
  args.count = indices.length;
  CheckBits(arguments, "packed", bytes.length, args.bit_offset, args.count, args.bits);
  args.bytes = bytes.data;
  args.indices = indices.data;
  return [args, backend = arguments.backend()] { return backend->unpack(&args); };
}

// About the CPU backend.
// info(): {isa: string | null, availableIsas: string, processors: number, memoryBytes: number}
Napi::Value Info(const Napi::CallbackInfo& info) {
  SoftpackInfo found = {};
  SoftpackCpuBackend()->info(&found);
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  result["isa"] =
      found.isa == nullptr ? env.Null() : Napi::Value(Napi::String::New(env, found.isa));
  result["availableIsas"] = Napi::String::New(env, found.available_isas);
  result["processors"] = Napi::Number::New(env, found.processors);
  result["memoryBytes"] = Napi::Number::New(env, static_cast<double>(SoftpackCpuMemory()));
  return result;
}

// statusText(status: number): string
Napi::Value StatusText(const Napi::CallbackInfo& info) {
  const int status = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : -1;
  return Napi::String::New(info.Env(), SoftpackStatusText(status));
}

// Defines every operation of a backend as a method of `target`, with the backend as its data.
void DefineOperations(Napi::Env env, const SoftpackBackend* backend, Napi::Object target) {
  void* const data = const_cast<SoftpackBackend*>(backend);
  const auto method = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    target.Set(name, Napi::Function::New(env, function, name, data));
  };
  method("project", Now<ReadProject>);
  method("projectAsync", Later<ReadProject>);
  method("nearest", Now<ReadNearest>);
  method("nearestAsync", Later<ReadNearest>);
  method("pack", Now<ReadPack>);
  method("unpack", Now<ReadUnpack>);
  method("augment", Now<ReadAugment>);
  method("augmentAsync", Later<ReadAugment>);
  target.Set("Encoder", Encoder::Define(env, backend));
  target.Set("Decoder", Decoder::Define(env, backend));
}

// openModule(path: string, start: boolean): {state: string, reason: string,
//                                            device?: {name, capability, memoryBytes},
//                                            operations?: the methods above}
Napi::Value OpenModule(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) throw Napi::TypeError::New(env, "path: expected a string");
  const DeviceModule& module = DeviceModule::Open(info[0].As<Napi::String>().Utf8Value());
  const DeviceState state = module.State(info[1].ToBoolean().Value());
  Napi::Object result = Napi::Object::New(env);
  result["state"] = Napi::String::New(env, state.name);
  result["reason"] = Napi::String::New(env, state.reason);
  if (module.table() == nullptr) return result;
  Napi::Object device = Napi::Object::New(env);
  device["name"] = Napi::String::New(env, state.info.name);
  device["capability"] = Napi::String::New(env, std::to_string(state.info.capability_major) + "." +
                                                    std::to_string(state.info.capability_minor));
  device["memoryBytes"] = Napi::Number::New(env, static_cast<double>(state.info.memory_bytes));
  result["device"] = device;
  Napi::Object operations = Napi::Object::New(env);
  DefineOperations(env, module.table()->backend, operations);
  operations.Set("DeviceBytes", DeviceBytes::Define(env, module.table()));
  result["operations"] = operations;
  return result;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  DefineOperations(env, SoftpackCpuBackend(), exports);
  DefineQuantiser(env, exports);
  DefineRans(env, exports);
  exports.Set("LatentDecoder", LatentDecoderObject::Define(env));
  DefineTokenLabels(env, exports);
  exports.Set("version", Napi::Number::New(env, kAddonVersion));
  exports.Set("abi", AbiTable(env));
  exports.Set("info", Napi::Function::New(env, Info, "info"));
  exports.Set("statusText", Napi::Function::New(env, StatusText, "statusText"));
  exports.Set("labelCalls", Napi::Function::New(env, LabelCalls, "labelCalls"));
  exports.Set("openModule", Napi::Function::New(env, OpenModule, "openModule"));
  return exports;
}

}  // namespace
}  // namespace softpack

static Napi::Object InitSoftpack(Napi::Env env, Napi::Object exports) {
  return softpack::Init(env, exports);
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, InitSoftpack)
