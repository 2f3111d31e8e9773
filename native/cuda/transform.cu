#include "cuda/transform.h"

#include <algorithm>
#include <vector>

#include "core/quantiser.h"
#include "cpu/value_bound.h"
#include "cuda/decoder.h"
#include "cuda/layout.h"
#include "cuda/project.h"
#include "cuda/targets.h"

namespace softpack {
namespace {

constexpr uint32_t kMostBlockBits = 16;
// Blocks of a launch are counted by 32 bits.
constexpr uint64_t kMostBlocks = uint64_t{1} << 31;

PackedTrellis Pack(const RansTrellis* trellis, uint32_t states) {
  PackedTrellis packed = {0, 0};
  for (uint32_t state = 0; trellis != nullptr && state < states; ++state) {
    packed.contexts |= static_cast<uint32_t>(trellis->context[state]) << state;
    for (uint32_t parity = 0; parity < 2; ++parity) {
      const uint32_t way = 2 * state + parity;
      packed.next |= static_cast<uint64_t>(trellis->next[way]) << 4 * way;
    }
  }
  return packed;
}

template <class T>
const T* Keep(Operation& operation, DeviceArray& array, const T* from, uint64_t count) {
  if (!operation.ok()) return nullptr;
  operation.Fail(array.Allocate(count * sizeof(T)));
  if (operation.ok()) operation.CopyIn(array.as<T>(), from, count * sizeof(T));
  return array.as<T>();
}

// The labels of a call, on the device.
bool Locate(Operation& operation, const TransformTables& tables, const SoftpackLabels& labels,
            TransformChunk* all) {
  const uint64_t records = labels.codes_bytes / tables.record.bytes;
  const uint64_t present = records << tables.record.block_bits;
  if (labels.list == nullptr && (labels.count > present || labels.first > present - labels.count)) {
    operation.Fail(kSoftpackInvalidArgument);
  }
  *all = {};
  all->records = operation.Input(labels.codes, labels.codes_bytes);
  all->record_count = records;
  all->list = operation.Input(labels.list, labels.count);
  all->first = labels.first;
  if (tables.bases != nullptr) {
    if (labels.count > 0 && (labels.base_pairs == nullptr || labels.base_weights == nullptr)) {
      operation.Fail(RefuseArgument("labels that bases predict come with pairs and weights"));
    }
    all->pairs = operation.Input(labels.base_pairs, 2 * labels.count);
    all->weights = operation.Input(labels.base_weights, labels.count);
  }
  if (reinterpret_cast<uintptr_t>(all->records) % RecordShape::kHeadBytes != 0) {
    operation.Fail(RefuseArgument("records are aligned to 16 bytes"));
  }
  return operation.ok();
}

}  // namespace

int CudaTransform::Create(const SoftpackTransformSpec& spec) {
  const RansTrellis* const trellis = RansTrellisOf(spec.trellis);
  const uint64_t block = spec.labels_per_block;
  const uint64_t contexts = trellis == nullptr ? 1 : 2;
  if (trellis == nullptr && spec.trellis != 1) return kSoftpackInvalidArgument;
  if (block == 0 || block > uint64_t{1} << kMostBlockBits || (block & (block - 1)) != 0) {
    return kSoftpackInvalidArgument;
  }
  // By context, also where there is but one.
  std::vector<uint16_t> row_tables;
  for (uint64_t i = 0; i < spec.components * contexts; ++i) {
    if (spec.row_tables[i] >= spec.tables) return kSoftpackInvalidArgument;
    row_tables.insert(row_tables.end(), 3 - contexts, spec.row_tables[i]);
  }
  std::vector<float> shifts;
  for (uint64_t j = 0; j < spec.components; ++j) {
    shifts.push_back(static_cast<float>(spec.shifts[j] / kShiftUnit));
  }
  classes_ = spec.classes;
  stride_ = RoundUpTo(spec.classes, 64);
  tables_ = {};
  RecordShape& record = tables_.record;
  record.components = static_cast<uint32_t>(spec.components);
  while (block >> record.block_bits > 1) ++record.block_bits;
  record.bytes = RecordShape::kHeadBytes +
                 RoundUpTo(spec.components * block * sizeof(int16_t), RecordShape::kHeadBytes);
  tables_.trellis = Pack(trellis, spec.trellis);
  tables_.unit = spec.unit;
  tables_.base_rows = spec.bases == nullptr ? 0 : spec.base_rows;
  SoftpackDecoderSpec values = {};
  values.basis = spec.basis;
  values.bias = spec.bias;
  values.classes = spec.classes;
  values.latent = spec.components;
  tables_.largest = static_cast<float>(std::min(LargestLatent(values), 1e37));
  Operation operation(0);
  tables_.entries = Keep(operation, entries_, spec.entries, spec.tables * kRansSlots);
  tables_.row_tables = Keep(operation, row_tables_, row_tables.data(), row_tables.size());
  tables_.shifts = Keep(operation, shifts_, shifts.data(), shifts.size());
  if (spec.bases != nullptr) {
    tables_.bases = Keep(operation, bases_, spec.bases, spec.base_rows * spec.components);
  }
  Keep(operation, basis_, spec.basis, spec.components * spec.classes);
  std::vector<float> bias(spec.bias, spec.bias + spec.classes);
  bias.resize(stride_);
  Keep(operation, bias_, bias.data(), stride_);
  return operation.Finish();
}

int CudaTransform::Unpack(const SoftpackTransformRow& row) const {
  Operation operation;
  if (row.blocks >= kMostBlocks) return kSoftpackInvalidArgument;
  if (row.blocks == 0) return operation.Finish();
  const uint64_t bytes = row.blocks * tables_.record.bytes;
  SoftpackTransformRow there = row;
  there.row = operation.Input(row.row, row.row_bytes);
  const bool here = operation.OnDevice(row.unpacked);
  if (!here) there.unpacked = operation.Take<uint8_t>(bytes);
  if (reinterpret_cast<uintptr_t>(there.unpacked) % RecordShape::kHeadBytes != 0) {
    operation.Fail(RefuseArgument("records are aligned to 16 bytes"));
  }
  if (operation.ok()) RunStreams(operation, tables_, there);
  if (!here) operation.CopyOut(row.unpacked, there.unpacked, bytes);
  return operation.Finish();
}

template <class Target>
int CudaTransform::DecodeChunks(Operation& operation, const SoftpackLabels& labels, Target& target,
                                RowUse use) const {
  TransformChunk all;
  if (!Locate(operation, tables_, labels, &all) || labels.count == 0) return operation.Finish();
  const uint64_t components = tables_.record.components;
  float* const latents = operation.Take<float>(target.chunk() * components);
  float* const values = operation.Take<float>(target.chunk() * stride_);
  return ForEachChunk(operation, target, labels.count,
                      [&](uint64_t first, uint64_t count, const RowTarget& rows) {
                        TransformChunk chunk = all;
                        chunk.first += first;
                        chunk.count = count;
                        if (chunk.list != nullptr) chunk.list += first;
                        if (chunk.pairs != nullptr) {
                          chunk.pairs += 2 * first;
                          chunk.weights += first;
                        }
                        RunTransformLatents(operation, tables_, chunk, latents);
                        ProductParams product = {};
                        product.a = {latents, components, 1, count};
                        product.b = {basis_.as<float>(), 1, classes_, classes_};
                        product.start = bias_.as<float>();
                        product.out = values;
                        product.out_stride = stride_;
                        product.inner = components;
                        RunProduct(operation, product);
                        RunRows(operation, rows, use, values, stride_);
                      });
}

int CudaTransform::Decode(Operation& operation, float tau, const SoftpackDecodeArgs& args) const {
  const HeadParams head = {kSoftpackHeadSoftmax, 1.0f / tau};
  DecodeTarget target(operation, args, head, classes_,
                      CachedLabels(args.labels.count, stride_ * sizeof(float)));
  return DecodeChunks(operation, args.labels, target, RowUse::kDecode);
}

int CudaTransform::DecodeKl(Operation& operation, float tau, const SoftpackDecodeKlArgs& args,
                            uint32_t type) const {
  if (type > kSoftpackBfloat16) return kSoftpackInvalidArgument;
  const HeadParams head = {kSoftpackHeadSoftmax, 1.0f / tau};
  KlTarget target(operation, args, type, head, classes_,
                  CachedLabels(args.labels.count, stride_ * sizeof(float)));
  return DecodeChunks(operation, args.labels, target, RowUse::kKl);
}

}  // namespace softpack
