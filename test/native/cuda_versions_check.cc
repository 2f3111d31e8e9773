#include "cuda_versions_check.h"

#include <cstdlib>

#include "cuda_decode_results.h"
#include "cuda_versions.h"

namespace softpack {
namespace testing {
namespace {

struct VersionCase {
  DecodeCase shape;
  uint64_t count;
  uint32_t head;
};
// Tiles are 128 labels, 256 classes and 64 latent elements; words are two elements of a codeword,
// or the last ones of two odd codewords.
constexpr VersionCase kBrief[] = {
    {{"one of each", 1, 1, 1, 2, 1, true, 0, true}, 1, kSoftpackHeadClamp},
    {{"odd codewords", 10, 27, 5, 11, 4, true, 0, true}, 7, kSoftpackHeadSoftmax},
    {{"even codewords", 300, 5, 14, 16, 4, true, 0, false}, 131, kSoftpackHeadClamp},
};
constexpr VersionCase kAll[] = {
    {{"(5, 1024)", 1000, 159, 5, 1024, 10, true, 0, true}, 131, kSoftpackHeadClamp},
    {{"(15, 2048)", 1000, 66, 15, 2048, 11, true, 0, false}, 129, kSoftpackHeadClamp},
    {{"(20, 1024)", 1000, 50, 20, 1024, 10, true, 0, true}, 128, kSoftpackHeadClamp},
    {{"(25, 512)", 1000, 40, 25, 512, 9, true, 0, true}, 257, kSoftpackHeadSoftmax},
    {{"(25, 512) again", 1024, 40, 25, 512, 9, true, 0, true}, 7, kSoftpackHeadIdentity},
    {{"(50, 128)", 999, 20, 50, 128, 7, true, 0, true}, 8, kSoftpackHeadClamp},
    {{"(100, 64)", 1001, 10, 100, 64, 6, true, 0, true}, 65, kSoftpackHeadSoftmax},
    {{"many tiles of labels", 10, 9, 4, 7, 3, true, 0, true}, 2100, kSoftpackHeadClamp},
    {{"pairs of tiles, the last of one", 100, 3, 33, 50, 6, true, 0, false},
     1153,
     kSoftpackHeadSoftmax},
    {{"256 classes", 256, 21, 3, 9, 4, true, 0, true}, 127, kSoftpackHeadSoftmax},
    {{"257 classes", 257, 64, 1, 5, 3, true, 0, true}, 300, kSoftpackHeadClamp},
    {{"513 classes", 513, 65, 1, 300, 9, true, 0, true}, 64, kSoftpackHeadSoftmax},
    {{"546 classes", 546, 7, 2, 16, 4, true, 0, true}, 260, kSoftpackHeadClamp},
    {{"769 classes", 769, 2, 31, 3, 2, true, 0, true}, 130, kSoftpackHeadIdentity},
    {{"one stage", 33, 1, 129, 90, 7, true, 0, true}, 12, kSoftpackHeadClamp},
    {{"no label", 33, 2, 4, 9, 4, true, 0, true}, 0, kSoftpackHeadClamp},
};

template <class T>
std::vector<T> Decode(const std::string& name, const SoftpackDecoder* decoder,
                      const SoftpackLabels& labels, uint64_t elements, uint32_t type,
                      uint64_t offset) {
  const LabelArrays there(labels, true);
  Array<T> out(Poisoned<T>(elements + offset), true);
  const SoftpackDecodeArgs args{there.get(), out.get() + offset, type, 1};
  const int status = cuda->decode(decoder, &args);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  std::vector<T> found = out.Read();
  found.erase(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(offset));
  return found;
}

// `offset` elements of `out` lie before the labels, so that rows are not aligned.
template <class T>
void CheckLabels(const std::string& name, const DecodeData& data, const SoftpackLabels& labels,
                 const Versions& versions, uint32_t type, uint64_t offset) {
  const uint64_t classes = data.spec.classes, elements = labels.count * classes;
  const auto found = Decode<T>(name, versions.two, labels, elements, type, offset);
  // Once a case: emulated, version 1 takes most of the time.
  const bool float32 = type == kSoftpackFloat32 && offset == 0;
  const auto before =
      float32 ? Decode<T>(name, versions.one, labels, elements, type, 0) : std::vector<T>();
  Deviation order, reference;
  for (uint64_t i = 0; i < labels.count; ++i) {
    std::vector<double> expected = ReferenceValues(data, labels, i);
    ReferenceHead(data.spec, expected);
    for (uint64_t j = 0; j < classes; ++j) {
      const uint64_t at = i * classes + j;
      if (float32) order.Add(OfType(found[at], type), OfType(before[at], type));
      reference.Add(OfType(found[at], type), expected[j]);
    }
  }
  const double rounding = type == kSoftpackFloat32 ? 0 : type == kSoftpackFloat16 ? 1e-3 : 4e-3;
  Expect(order.Relative() <= kOrder,
         name + " deviates from version 1 by " + std::to_string(order.Relative()));
  Expect(reference.Relative() <= kOrder + rounding,
         name + " deviates from float64 by " + std::to_string(reference.Relative()));
}

void CheckCase(const VersionCase& one, uint32_t seed) {
  DecodeData data(one.shape, one.count, seed);
  RoundToBfloat(data);
  data.spec.method = kSoftpackMethodBfloat;
  data.spec.head = one.head;
  data.spec.head_parameter = one.head == kSoftpackHeadClamp ? 1e-3f : 2.0f;
  const std::string name = std::string("version 2, ") + one.shape.name;
  const Versions versions(*cuda, kBfloatVersion, data.spec);
  Expect(versions.differ(), name + " is used " + Reason(versions.status));
  if (!versions.differ()) return;
  const SoftpackLabels labels = data.Labels(one.count, seed % 2 == 0);
  CheckLabels<float>(name, data, labels, versions, kSoftpackFloat32, 0);
  CheckLabels<uint16_t>(name + " bf16", data, labels, versions, kSoftpackBfloat16, seed % 2);
  if (brief) return;
  CheckLabels<float>(name + " off", data, labels, versions, kSoftpackFloat32, 1);
  CheckLabels<uint16_t>(name + " f16", data, labels, versions, kSoftpackFloat16, 1 - seed % 2);
}

// Shapes that version 2 leaves to version 1.
void CheckOthers() {
  const DecodeCase others[] = {
      {"bases", 33, 3, 4, 9, 4, true, 5, true},
      {"codebooks in place", 33, 3, 4, 9, 4, false, 0, true},
      {"1025 classes", 1025, 3, 4, 9, 4, true, 0, true},
      {"a codebook beyond shared memory", 33, 2, 100, 2000, 11, true, 0, true},
  };
  for (const DecodeCase& shape : others) {
    DecodeData data(shape, 1, 9);
    data.spec.method = kSoftpackMethodBfloat;
    const Versions versions(*cuda, kBfloatVersion, data.spec);
    Expect(versions.status == kSoftpackOk && !versions.differ(),
           std::string(shape.name) + ": version 1");
  }
}

// Whether this module and device have it.
bool HasVersion() {
  DecodeData data(kBrief[0].shape, 1, 1);
  data.spec.method = kSoftpackMethodBfloat;
  return Versions(*cuda, kBfloatVersion, data.spec).differ();
}

}  // namespace

void CheckVersions() {
  if (!HasVersion()) {
    std::printf("skipped: version 2 of bfloat (no instructions of 9.0a here)\n");
    return;
  }
  uint32_t seed = 500;
  for (const VersionCase& one : kBrief) CheckCase(one, ++seed);
  CheckVersionLosses();
  if (brief) return;
  for (const VersionCase& one : kAll) CheckCase(one, ++seed);
  CheckOthers();
}

}  // namespace testing
}  // namespace softpack
