#include "cuda_transform_check.h"

#include <cmath>

#include "core/quantiser.h"
#include "cpu/dispatch.h"
#include "cpu/latent_decoder.h"
#include "cuda_transform_data.h"

namespace softpack {
namespace testing {
namespace {

constexpr TransformCase kTransforms[] = {
    {"one of each", 1, 1, 1, 1, 1, 0, 0, 2},
    {"no trellis", 7, 3, 37, 16, 1, 0, 32, 3},
    {"4 states, predicted", 65, 5, 130, 64, 4, 9, 8, 5},
    {"8 states, predicted, many escapes", 33, 12, 71, 32, 8, 4, 32, 90},
    {"8 states, one block", 129, 9, 100, 256, 8, 0, 16, 4},
    {"one lane, beyond registers", 1100, 2, 9, 4, 8, 2, 1, 400},
};

const KernelTable& Kernels() { return *SelectedIsa()->kernels; }

struct Transform {
  SoftpackTransform* handle = nullptr;
  explicit Transform(const SoftpackTransformSpec& spec) {
    const int status = module->transform_create(&spec, &handle);
    Expect(status == kSoftpackOk, "a transform is made: " + Reason(status));
  }
  ~Transform() { module->transform_destroy(handle); }
  Transform(const Transform&) = delete;
  Transform& operator=(const Transform&) = delete;
};

// [labels, components] of listed labels, or of all in turn: as src/codecs/transform decodes them.
std::vector<float> Latents(const TransformData& data, bool listed) {
  const uint64_t components = data.spec.components;
  std::vector<float> all(data.labels * components);
  uint64_t first = 0;
  for (const auto& values : data.values) {
    const uint64_t count = values.size() / components;
    const DequantiseArgs args = {values.data(),
                                 data.shifts.data(),
                                 all.data() + first * components,
                                 count,
                                 components,
                                 data.spec.unit,
                                 data.spec.trellis,
                                 1};
    Dequantise(Kernels(), args);
    first += count;
  }
  std::vector<float> latents;
  for (uint64_t i = 0; i < data.labels; ++i) {
    const uint64_t position = listed ? data.list[i] : i;
    for (uint64_t j = 0; j < components; ++j) {
      float value = all[position * components + j];
      if (data.spec.bases != nullptr) {
        const uint32_t a = data.pairs[2 * i], b = data.pairs[2 * i + 1];
        const double own = a == b ? 1 : data.weights[i];
        const double both =
            own * data.bases[a * components + j] + (1 - own) * data.bases[b * components + j];
        value = static_cast<float>(value + both);
      }
      latents.push_back(value);
    }
  }
  return latents;
}

std::vector<float> CpuLabels(const TransformData& data, bool listed, float tau) {
  LatentDecoder decoder;
  decoder.Create(*SelectedIsa(), {data.basis.data(), data.bias.data(), data.spec.classes,
                                  data.spec.components, false});
  const std::vector<float> latents = Latents(data, listed);
  std::vector<float> labels(data.labels * data.spec.classes);
  decoder.Decode({latents.data(), labels.data(), data.labels, tau, kSoftpackFloat32, 1});
  return labels;
}

// A call's labels; `records` and the rest are where they are tested.
struct CallArrays {
  Array<uint8_t> records;
  Array<uint32_t> list, pairs;
  Array<float> weights;
  SoftpackLabels labels = {};

  CallArrays(const TransformData& data, const std::vector<uint8_t>& unpacked, bool listed,
             bool on_device)
      : records(unpacked, on_device),
        list(data.list, on_device),
        pairs(data.pairs, on_device),
        weights(data.weights, on_device) {
    labels.codes = records.get();
    labels.codes_bytes = unpacked.size();
    if (listed) labels.list = list.get();
    labels.count = data.labels;
    labels.base_pairs = pairs.get();
    labels.base_weights = weights.get();
  }
};

void CheckLosses(const std::string& name, const TransformData& data, const Transform& transform,
                 const CallArrays& call, const std::vector<float>& y, bool on_device) {
  const uint64_t classes = data.spec.classes;
  constexpr double kTau = 1.5;
  Random random(4);
  auto logits = random.Floats(y.size());
  for (float& logit : logits) logit *= 3;
  Array<float> logits_there(logits, on_device), gradient(Poisoned<float>(y.size()), on_device),
      losses(Poisoned<float>(data.labels), on_device);
  const SoftpackDecodeKlArgs args{
      call.labels, logits_there.get(), losses.get(), gradient.get(), 1.5f, 2.0f, 0, 1};
  const int status = module->transform_decode_kl(transform.handle, 2.5f, &args, kSoftpackFloat32);
  Expect(status == kSoftpackOk, name + " losses " + Reason(status));
  const auto found = losses.Read(), slope = gradient.Read();
  double worst = 0, worst_slope = 0;
  for (uint64_t i = 0; i < data.labels; ++i) {
    double sum = 0, expected = 0;
    for (uint64_t j = 0; j < classes; ++j) sum += std::exp(logits[i * classes + j] / kTau);
    for (uint64_t j = 0; j < classes; ++j) {
      const double p = y[i * classes + j];
      const double log_q = logits[i * classes + j] / kTau - std::log(sum);
      if (p > 0) expected += p * (std::log(p) - log_q);
      const double wanted = (std::exp(log_q) - p) * 2 / kTau;
      worst_slope = std::max(worst_slope, std::fabs(slope[i * classes + j] - wanted));
    }
    worst = std::max(worst, std::fabs(found[i] - expected) / (1 + expected));
  }
  Expect(worst < 1e-5, name + ": losses deviate by " + std::to_string(worst));
  Expect(worst_slope < 1e-6, name + ": the gradient deviates by " + std::to_string(worst_slope));
  Expect(module->transform_decode_kl(transform.handle, 1.0f, &args, 3) == kSoftpackInvalidArgument,
         name + ": another type is told");
}

void CheckWrongCalls(const std::string& name, const TransformData& data, const Transform& transform,
                     const CallArrays& call) {
  std::vector<float> out(data.labels * data.spec.classes);
  const auto decode = [&](const SoftpackLabels& labels) {
    const SoftpackDecodeArgs args{labels, out.data(), kSoftpackFloat32, 1};
    return module->transform_decode(transform.handle, 1.0f, &args);
  };
  SoftpackLabels labels = call.labels;
  labels.count = 1;
  labels.list = nullptr;
  for (const uint64_t beyond :
       {data.labels, data.blocks() * data.spec.labels_per_block, ~uint64_t{0}}) {
    // The first of them may be a label, if the last block is full.
    labels.first = beyond;
    Expect(decode(labels) == kSoftpackInvalidArgument, name + ": a label beyond the row is told");
  }
  const uint32_t listed = 1u << 31, wrong_pair[] = {0, static_cast<uint32_t>(data.spec.base_rows)};
  labels.list = &listed;
  Expect(decode(labels) == kSoftpackInvalidArgument, name + ": a listed one beyond it is told");
  labels.list = nullptr;
  labels.first = 0;
  if (data.spec.bases != nullptr) {
    labels.base_pairs = wrong_pair;
    Expect(decode(labels) == kSoftpackInvalidArgument, name + ": a base beyond the bases is told");
    labels.base_pairs = call.labels.base_pairs;
  }
  Expect(decode(labels) == kSoftpackOk, name + ": and the next call is in order");
}

// What the CPU says of a block: its values, or none.
std::vector<int16_t> CpuBlock(const TransformData& data, const uint8_t* begin, const uint8_t* end) {
  if (end - begin < 2) return {};
  const uint64_t labels = begin[0] | static_cast<uint64_t>(begin[1]) << 8;
  if (labels < 1 || labels > data.spec.labels_per_block) return {};
  std::vector<int16_t> values(labels * data.spec.components);
  const RansDecodeArgs args = {begin + 2, static_cast<uint64_t>(end - begin - 2),
                               data.entries.data(), data.ShapeOf(labels), values.data()};
  return DecodeRans(Kernels(), args) == kSoftpackOk ? values : std::vector<int16_t>();
}

// Rows with wrong bytes: every block is what the CPU makes of it.
void CheckHostileRows(const std::string& name, const TransformData& data,
                      const Transform& transform) {
  Random random(6);
  const uint64_t head = 4 * (data.blocks() + 2),
                 record = module->transform_record_bytes(transform.handle);
  int refused = 0;
  for (int round = 0; round < (brief ? 24 : 120); ++round) {
    auto row = data.row;
    const bool in_head = round % 6 == 0;
    const uint64_t at =
        in_head ? 4 + random.Below(head - 4) : head + random.Below(row.size() - head);
    row[at] = static_cast<uint8_t>(random.Below(256));
    if (round % 5 == 0) row.resize(random.Below(row.size() + 1));
    if (round % 7 == 0) row.push_back(0);
    const ExactBytes there(row);
    Array<uint8_t> records(Poisoned<uint8_t>(data.blocks() * record), true);
    const SoftpackTransformRow args = {there.get(), row.size(), data.blocks(), records.get()};
    const int status = module->transform_unpack(transform.handle, &args);
    const auto found = records.Read();
    bool all = true;
    for (uint64_t block = 0; block < data.blocks(); ++block) {
      const uint8_t* const offsets = row.data() + 4 * (block + 1);
      std::vector<int16_t> values;
      if (row.size() >= head) {
        const uint64_t from = ReadLittle32(offsets), to = ReadLittle32(offsets + 4);
        if (from <= to && to <= row.size() - head) {
          values = CpuBlock(data, row.data() + head + from, row.data() + head + to);
        }
      }
      all = all && !values.empty();
      const bool same = values.empty() ? LabelsOf(found, block * record) == 0
                                       : Holds(found, block * record, data, values);
      Expect(same, name + ": block " + std::to_string(block) + " of wrong row " +
                       std::to_string(round) + " is what the CPU makes of it");
    }
    Expect((status == kSoftpackOk) == all, name + ": the status tells of a wrong block");
    Expect(status == kSoftpackOk || status == kSoftpackInvalidCodes ||
               status == kSoftpackInvalidArgument,
           name + " " + Reason(status));
    refused += status != kSoftpackOk;
  }
  Expect(refused > 0, name + ": wrong rows are refused");
}

void CheckCase(const TransformCase& shape, uint32_t seed, bool on_device) {
  const TransformData data(shape, seed);
  const std::string name = std::string("transform, ") + shape.name + (on_device ? " there" : "");
  const Transform transform(data.spec);
  if (transform.handle == nullptr) return;
  const uint64_t record = module->transform_record_bytes(transform.handle);
  Array<uint8_t> row(data.row, on_device);
  Array<uint8_t> records(Poisoned<uint8_t>(data.blocks() * record), on_device);
  const SoftpackTransformRow args = {row.get(), data.row.size(), data.blocks(), records.get()};
  const int status = module->transform_unpack(transform.handle, &args);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  const auto unpacked = records.Read();
  for (uint64_t block = 0; block < data.blocks(); ++block) {
    Expect(Holds(unpacked, block * record, data, data.values[block]),
           name + " gives the integers of block " + std::to_string(block));
  }
  for (const bool listed : {false, true}) {
    CallArrays call(data, unpacked, listed, on_device);
    const std::string own = name + (listed ? ", listed" : "");
    const auto expected = CpuLabels(data, listed, 2.5f);
    Array<float> out(Poisoned<float>(expected.size()), on_device);
    const SoftpackDecodeArgs decode{call.labels, out.get(), kSoftpackFloat32, 1};
    const int decoded = module->transform_decode(transform.handle, 2.5f, &decode);
    Expect(decoded == kSoftpackOk, own + " " + Reason(decoded));
    Expect(Same(out.Read(), expected), own + " gives the CPU's labels");
    CheckLosses(own, data, transform, call, expected, on_device);
    if (!listed && !on_device) CheckWrongCalls(name, data, transform, call);
  }
  CheckHostileRows(name, data, transform);
}

// Latents that float32 cannot hold the values of, and specs that contradict themselves.
void CheckRefusals() {
  TransformData data(kTransforms[2], 50);
  auto spec = data.spec;
  spec.unit = 1e36;
  const Transform transform(spec);
  if (transform.handle == nullptr) return;
  const uint64_t record = module->transform_record_bytes(transform.handle);
  std::vector<uint8_t> records(data.blocks() * record);
  const SoftpackTransformRow row = {data.row.data(), data.row.size(), data.blocks(),
                                    records.data()};
  // Host memory of vectors is aligned to 16 bytes.
  Expect(module->transform_unpack(transform.handle, &row) == kSoftpackOk, "transform unpacks");
  CallArrays call(data, records, false, false);
  std::vector<float> out(data.labels * spec.classes);
  const SoftpackDecodeArgs args{call.labels, out.data(), kSoftpackFloat32, 1};
  Expect(module->transform_decode(transform.handle, 1.0f, &args) == kSoftpackNotFinite,
         "values that float32 cannot hold are told");
  const auto refused = [&](const SoftpackTransformSpec& wrong) {
    SoftpackTransform* handle = nullptr;
    return module->transform_create(&wrong, &handle) == kSoftpackInvalidArgument;
  };
  spec = data.spec;
  spec.trellis = 3;
  Expect(refused(spec), "a trellis of 3 states is told");
  spec = data.spec;
  spec.labels_per_block = 48;
  Expect(refused(spec), "blocks of 48 labels are told");
  spec = data.spec;
  spec.tables = 1;
  Expect(refused(spec), "a table beyond the tables is told");
}

}  // namespace

void CheckTransform(bool on_device) {
  uint32_t seed = 400;
  for (const TransformCase& shape : kTransforms) {
    ++seed;
    if (brief && shape.labels_per_block != 32 && shape.labels_per_block != 4) continue;
    CheckCase(shape, seed, on_device);
  }
  CheckRefusals();
}

}  // namespace testing
}  // namespace softpack
