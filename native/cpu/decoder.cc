#include "cpu/decoder.h"

#include <algorithm>
#include <cmath>

#include "core/bits.h"
#include "core/thread_pool.h"
#include "cpu/decode_plan.h"
#include "cpu/value_bound.h"

using softpack::CodeBlock;
using softpack::HeadKind;
using softpack::RowBlock;
using softpack::RowScratch;
using softpack::RowView;
using softpack::WholeRow;

int SoftpackDecoder::Create(const softpack::Isa& isa, const SoftpackDecoderSpec& spec) {
  table_ = isa.kernels;
  stride_ = softpack::PaddedClasses(spec.classes);
  if (spec.head == kSoftpackHeadClamp) head_ = {HeadKind::kClamp, spec.head_parameter};
  if (spec.head == kSoftpackHeadSoftmax) head_ = {HeadKind::kSoftmax, 1.0f / spec.head_parameter};
  spec_ = spec;
  may_overflow_ = head_.kind != HeadKind::kIdentity && softpack::MayOverflow(spec);
  const bool chosen = spec.method == kSoftpackMethodAuto;
  if (chosen) spec_.method = softpack::ChooseMethod(spec, isa.bfloat);
  int status = CreateRows(isa, spec);
  if (chosen && status == kSoftpackInvalidArgument) {
    // Values that no fixed point can hold.
    spec_.method = kSoftpackMethodLatent;
    status = CreateRows(isa, spec);
  }
  const bool unfit = spec_.method == kSoftpackMethodFixed && status == kSoftpackInvalidArgument;
  return unfit ? int{kSoftpackNotFinite} : status;
}

int SoftpackDecoder::CreateRows(const softpack::Isa& isa, const SoftpackDecoderSpec& spec) {
  switch (spec_.method) {
    case kSoftpackMethodLatent:
      return softpack::CreateLatentRows(*table_, spec, &rows_);
    case kSoftpackMethodTable:
      return softpack::CreateTableRows(*table_, spec, &rows_);
    case kSoftpackMethodFixed:
      return softpack::CreateFixedRows(*table_, spec, &rows_);
    case kSoftpackMethodBfloat:
    case kSoftpackMethodSplit: {
      if (isa.bfloat == nullptr) return kSoftpackUnsupportedMethod;
      const bool split = spec_.method == kSoftpackMethodSplit;
      return softpack::CreateBfloatRows(*table_, *isa.bfloat, spec, split, &rows_);
    }
    default:
      return kSoftpackInvalidArgument;
  }
}

SoftpackDecoderInfo SoftpackDecoder::Info() const {
  return {spec_.method, rows_->bytes() + scratch_.bytes()};
}

int SoftpackDecoder::Decode(const SoftpackDecodeArgs& args) const {
  const auto type = static_cast<SoftpackDtype>(args.out_type);
  const uint64_t label_bytes = spec_.classes * SoftpackDtypeBytes(type);
  const bool streamed = args.labels.count * label_bytes >= softpack::kStreamedBytes;
  return ForEachRow(
      args.labels, args.threads, [&](uint64_t i, const RowView& row, RowScratch* scratch) {
        char* const out = static_cast<char*>(args.out) + i * label_bytes;
        table_->finish(head_, row, spec_.classes, scratch->row.data(), {out, type, streamed});
      });
}

int SoftpackDecoder::DecodeKl(const SoftpackDecodeKlArgs& args) const {
  if (head_.kind == HeadKind::kIdentity) return kSoftpackInvalidArgument;
  const bool entropy = args.loss == kSoftpackLossKl;
  const uint64_t bytes = args.labels.count * spec_.classes * sizeof(float);
  const bool streamed = args.gradient != args.logits && bytes >= softpack::kStreamedBytes;
  return ForEachRow(
      args.labels, args.threads, [&](uint64_t i, const RowView& row, RowScratch* scratch) {
        const uint64_t start = i * spec_.classes;
        const softpack::KlInput input{args.logits + start, 1.0f / args.tau, args.scale / args.tau,
                                      entropy, streamed};
        float* const gradient = args.gradient == nullptr ? nullptr : args.gradient + start;
        const float loss = table_->kl(head_, row, input, spec_.classes, scratch->row.data(),
                                      scratch->second_row.data(), gradient);
        if (args.losses != nullptr) args.losses[i] = loss;
      });
}

template <class Consume>
int SoftpackDecoder::ForEachRow(const SoftpackLabels& labels, uint32_t threads,
                                const Consume& consume) const {
  const int status = CheckBasePairs(labels);
  if (status != kSoftpackOk) return status;
  const uint64_t block = rows_->BlockLabels(labels.count, softpack::ResolveThreads(threads));
  const uint64_t tasks = (labels.count + block - 1) / block;
  const bool careful = NeedsCare(labels);
  return softpack::ParallelFor(threads, tasks, [&](uint64_t task) {
    const uint64_t first = task * block;
    return ForEachRowOf(labels, first, std::min(block, labels.count - first), careful, consume);
  });
}

template <class Consume>
int SoftpackDecoder::ForEachRowOf(const SoftpackLabels& labels, uint64_t first, uint64_t count,
                                  bool careful, const Consume& consume) const {
  const softpack::ScratchPool<RowScratch>::Lease lease(scratch_);
  RowScratch* const scratch = lease.get();
  if (scratch == nullptr || !scratch->indices.Reserve(count * spec_.stages) ||
      !scratch->row.Reserve(stride_) || !scratch->second_row.Reserve(stride_)) {
    return kSoftpackOutOfMemory;
  }
  int status = ReadIndices(labels, first, count, scratch->indices.data());
  if (status != kSoftpackOk) return status;
  const bool predicted = spec_.base_rows > 0;
  const CodeBlock block{scratch->indices.data(), count,
                        predicted ? labels.base_pairs + 2 * first : nullptr,
                        predicted ? labels.base_weights + first : nullptr, nullptr};
  RowBlock rows;
  status = rows_->Rows(block, scratch, &rows);
  if (status != kSoftpackOk) return status;
  const bool adds = predicted && rows_->base_rows() != nullptr;
  for (uint64_t i = 0; i < count; ++i) {
    RowView row = rows.Row(i);
    if (adds) row = WholeRow(AddPrediction(labels, first + i, row, scratch));
    if (careful && !GivesLabel(row, scratch)) return kSoftpackNotFinite;
    consume(first + i, row, scratch);
  }
  table_->fence();
  return kSoftpackOk;
}

// The row with its prediction, in scratch->row.
const float* SoftpackDecoder::AddPrediction(const SoftpackLabels& labels, uint64_t label,
                                            const RowView& row, RowScratch* scratch) const {
  float* const values = scratch->row.data();
  table_->widen(row, stride_, values);
  const float* const a = rows_->base_rows() + labels.base_pairs[2 * label] * stride_;
  const float* const b = rows_->base_rows() + labels.base_pairs[2 * label + 1] * stride_;
  table_->add_prediction(a, b, labels.base_weights[label], stride_, values);
  return values;
}

// Whether labels must be looked at one by one: tensors within bounds, and weights that are shares,
// cannot give values beyond float32.
bool SoftpackDecoder::NeedsCare(const SoftpackLabels& labels) const {
  if (may_overflow_ || head_.kind == HeadKind::kIdentity || spec_.base_rows == 0) {
    return may_overflow_;
  }
  return !std::all_of(labels.base_weights, labels.base_weights + labels.count,
                      [](float weight) { return weight >= 0 && weight <= 1; });
}

// Whether the head makes a distribution of a row: its values are finite, and of a clamp head so is
// their sum.
bool SoftpackDecoder::GivesLabel(const RowView& row, RowScratch* scratch) const {
  float* const values = scratch->second_row.data();
  if (row.floats != values) table_->widen(row, stride_, values);
  double sum = 0;
  for (uint64_t j = 0; j < spec_.classes; ++j) {
    if (!std::isfinite(values[j])) return false;
    sum += std::max(values[j], head_.parameter);
  }
  // The head adds up in float32.
  return head_.kind != HeadKind::kClamp || sum <= 3.4e38;
}

int SoftpackDecoder::CheckBasePairs(const SoftpackLabels& labels) const {
  if (spec_.base_rows == 0) return kSoftpackOk;
  for (uint64_t i = 0; i < 2 * labels.count; ++i) {
    if (labels.base_pairs[i] >= spec_.base_rows) return kSoftpackInvalidArgument;
  }
  return kSoftpackOk;
}

// Indices of `count` of the requested labels, beginning at position `first`.
int SoftpackDecoder::ReadIndices(const SoftpackLabels& labels, uint64_t first, uint64_t count,
                                 uint16_t* indices) const {
  const uint64_t label_bits = spec_.stages * spec_.bits;
  const uint64_t present = labels.codes_bytes * 8 / label_bits;
  if (labels.list == nullptr) {
    const uint64_t from = labels.first + first;
    if (count > present || from > present - count) return kSoftpackInvalidArgument;
    softpack::UnpackIndices(labels.codes, from * label_bits, spec_.bits, count * spec_.stages,
                            indices);
  } else {
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t label = labels.list[first + i];
      if (label >= present) return kSoftpackInvalidArgument;
      softpack::UnpackIndices(labels.codes, label * label_bits, spec_.bits, spec_.stages,
                              indices + i * spec_.stages);
    }
  }
  if (spec_.levels == uint64_t{1} << spec_.bits) return kSoftpackOk;
  const uint16_t greatest = *std::max_element(indices, indices + count * spec_.stages);
  return greatest < spec_.levels ? kSoftpackOk : kSoftpackInvalidCodes;
}
