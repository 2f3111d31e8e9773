#include "cuda_tables_check.h"

#include "cuda_decode_results.h"
#include "cuda_versions.h"

namespace softpack {
namespace testing {
namespace {

struct TableCase {
  DecodeCase shape;
  uint64_t count;
  uint32_t head;
};
// Groups are 8 labels, two clusters of 12 warps make 24 of them at a time, and a block holds 128
// classes; 16, 24 and 64 where tables are larger, and from some 1,300 rows on there are two passes.
// Version 2 needs 2,048 labels.
constexpr TableCase kBrief[] = {
    {{"9 stages", 7, 9, 2, 5, 3, true, 0, false}, 2051, kSoftpackHeadClamp},
    {{"two passes, 3 stages", 33, 3, 2, 700, 10, true, 0, true}, 2049, kSoftpackHeadClamp},
};
constexpr TableCase kAll[] = {
    {{"(100, 64)", 1000, 10, 6, 64, 6, true, 0, true}, 2177, kSoftpackHeadClamp},
    {{"(100, 64) again", 999, 10, 3, 64, 6, true, 0, true}, 2048, kSoftpackHeadIdentity},
    {{"one stage", 1001, 1, 3, 700, 10, true, 0, true}, 2055, kSoftpackHeadClamp},
    {{"1024 classes", 1024, 15, 2, 19, 5, true, 0, false}, 2049, kSoftpackHeadClamp},
    {{"513 classes", 513, 17, 2, 16, 4, true, 0, true}, 2063, kSoftpackHeadClamp},
    {{"128 classes", 128, 64, 1, 8, 3, true, 0, true}, 2100, kSoftpackHeadIdentity},
    {{"129 classes", 129, 65, 1, 2, 1, true, 0, true}, 2304, kSoftpackHeadClamp},
    {{"in place", 33, 10, 5, 64, 6, false, 0, true}, 2305, kSoftpackHeadClamp},
    {{"21 stages of 64", 999, 21, 2, 64, 6, true, 0, true}, 2051, kSoftpackHeadClamp},
    {{"(50, 128)", 1000, 20, 3, 128, 7, true, 0, true}, 2065, kSoftpackHeadClamp},
    {{"two passes, 14 stages", 65, 14, 2, 170, 8, true, 0, false}, 2063, kSoftpackHeadIdentity},
    {{"one of each", 1, 1, 1, 1, 1, true, 0, true}, 2050, kSoftpackHeadClamp},
};

// `offset` elements of the labels' array lie before them, so that rows are not aligned.
template <class T>
void CheckLabels(const std::string& name, const SoftpackLabels& labels, const Decoders& decoders,
                 uint64_t classes, uint32_t type, uint64_t offset, bool on_device) {
  const uint64_t elements = labels.count * classes + offset;
  Array<T> out(Poisoned<T>(elements), on_device);
  const LabelArrays there(labels, on_device);
  SoftpackDecodeArgs args{there.get(), out.get() + offset, type, 1};
  const int status = cuda->decode(decoders.on_cuda, &args);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  auto expected = Poisoned<T>(elements);
  args = {labels, expected.data() + offset, type, 1};
  cpu->decode(decoders.on_cpu, &args);
  Expect(Same(out.Read(), expected), name + " gives the CPU's bytes");
}

// An index beyond the levels, in the last label.
void CheckWrongIndex(const std::string& name, const DecodeData& data, const Decoders& decoders) {
  if (data.spec.levels >> data.spec.bits > 0) return;
  std::vector<uint8_t> codes = data.codes;
  SoftpackLabels labels = data.Labels(data.labels - 5, false);
  const uint64_t last = labels.first + labels.count - 1;
  WriteIndex(codes.data(), ((last + 1) * data.spec.stages - 1) * data.spec.bits, data.spec.bits,
             static_cast<uint16_t>(data.spec.levels));
  labels.codes = codes.data();
  const LabelArrays there(labels, true);
  Array<float> out(Poisoned<float>(labels.count * data.spec.classes), true);
  const SoftpackDecodeArgs args{there.get(), out.get(), kSoftpackFloat32, 1};
  Expect(cuda->decode(decoders.on_cuda, &args) == kSoftpackInvalidCodes,
         name + ": a wrong index is told");
  out.Read();
}

void CheckCase(const TableCase& one, uint32_t seed) {
  DecodeData data(one.shape, one.count, seed);
  data.spec.method = kSoftpackMethodFixed;
  data.spec.head = one.head;
  data.spec.head_parameter = 1e-2f;
  const std::string name = std::string("tables, version 2, ") + one.shape.name;
  const Versions versions(*cuda, kTableVersion, data.spec);
  Expect(versions.differ(), name + " is used " + Reason(versions.status));
  if (!versions.differ()) return;
  Decoders decoders;
  {
    const WishedVersion wished(kTableVersion, "2");
    cuda->decoder_create(&data.spec, &decoders.on_cuda);
  }
  cpu->decoder_create(&data.spec, &decoders.on_cpu);
  const SoftpackLabels labels = data.Labels(one.count, seed % 2 == 0);
  const auto check = [&](auto element, uint32_t type, const char* suffix, uint64_t offset) {
    CheckLabels<decltype(element)>(name + suffix, labels, decoders, data.spec.classes, type, offset,
                                   seed % 3 == 0);
  };
  // Thousands of labels take long under a sanitizer: one type of each.
  if (brief && seed % 2 == 0) return check(uint16_t{}, kSoftpackBfloat16, " bf16", 1);
  CheckDecodeInto<float>(kSoftpackFloat32, name, data, labels, decoders, data.spec.method, true);
  if (brief) return;
  check(uint16_t{}, kSoftpackBfloat16, " bf16", seed % 2);
  CheckWrongIndex(name, data, decoders);
  // Threads that are emulated are slow.
  if (emulated && data.spec.classes > 600) return;
  check(float{}, kSoftpackFloat32, " off", 1);
  check(uint16_t{}, kSoftpackFloat16, " f16", 1 - seed % 2);
}

// Shapes that version 2 leaves to version 1.
void CheckOthers() {
  const DecodeCase others[] = {
      {"bases", 33, 3, 4, 9, 4, true, 5, true},
      {"1025 classes", 1025, 3, 4, 9, 4, true, 0, true},
      {"(25, 512)", 40, 40, 2, 512, 9, true, 0, false},
  };
  for (const DecodeCase& shape : others) {
    DecodeData data(shape, 1, 9);
    data.spec.method = kSoftpackMethodFixed;
    const Versions versions(*cuda, kTableVersion, data.spec);
    Expect(versions.status == kSoftpackOk && !versions.differ(),
           std::string(shape.name) + ": version 1 of tables");
  }
}

// Whether this module and device have it.
bool HasVersion() {
  DecodeData data(kBrief[0].shape, 1, 1);
  data.spec.method = kSoftpackMethodFixed;
  return Versions(*cuda, kTableVersion, data.spec).differ();
}

}  // namespace

void CheckTableVersions() {
  if (!HasVersion()) {
    std::printf("skipped: version 2 of tables (no clusters of compute capability 9.0 here)\n");
    return;
  }
  uint32_t seed = 700;
  for (const TableCase& one : kBrief) CheckCase(one, ++seed);
  if (brief) return;
  for (const TableCase& one : kAll) CheckCase(one, ++seed);
  CheckOthers();
}

}  // namespace testing
}  // namespace softpack
