#include "cpu/decoder.h"

#include <algorithm>

#include "core/bits.h"
#include "core/thread_pool.h"

using softpack::Buffer;
using softpack::HeadKind;
using softpack::KernelTable;
using softpack::MatrixView;
using softpack::PackedMatrix;
using softpack::RoundUp;

namespace {

// Beyond this a table costs more memory than it is worth. The paper's 1,000 classes at (1000, 25,
// 512) need 78 MiB.
constexpr double kTableCapBytes = 96 << 20;
// Adding an element of a table row takes as long as 4 (table in L2) to 10 (table in memory)
// multiply-adds of the latent method.
constexpr uint64_t kTableCost = 8;
// Labels a task of the table method, whose rows are independent.
constexpr uint64_t kTableBlock = 64;

bool PrefersTable(const SoftpackDecoderSpec& spec) {
  const double bytes = 4.0 * spec.stages * spec.levels * spec.classes;
  return bytes <= kTableCapBytes && spec.stages * kTableCost <= spec.latent;
}

}  // namespace

// Working memory of one task.
struct SoftpackDecoder::Scratch {
  Buffer<uint16_t> indices;      // [stages]
  Buffer<float> values;          // [labels, stride]; one row for the table method
  Buffer<float> latents;         // [labels, latent]
  Buffer<float> product;         // the kernel table's
  Buffer<const float*> sources;  // [stages], rows of the table
};

int SoftpackDecoder::Create(const KernelTable& table, const SoftpackDecoderSpec& spec) {
  table_ = &table;
  spec_ = spec;
  if (spec.head == kSoftpackHeadClamp) head_ = {HeadKind::kClamp, spec.head_parameter};
  if (spec.head == kSoftpackHeadSoftmax) head_ = {HeadKind::kSoftmax, 1.0f / spec.head_parameter};
  stride_ = RoundUp(RoundUp(spec.classes, table.panel_columns), softpack::kHeadSums);
  if (!bias_.Allocate(stride_)) return kSoftpackOutOfMemory;
  std::fill_n(bias_.data(), stride_, 0.0f);
  if (spec.bias != nullptr) std::copy_n(spec.bias, spec.classes, bias_.data());
  if (spec.method == kSoftpackMethodAuto) {
    spec_.method = PrefersTable(spec) ? kSoftpackMethodTable : kSoftpackMethodLatent;
  }
  return spec_.method == kSoftpackMethodTable ? BuildTable(spec) : BuildLatent(spec);
}

int SoftpackDecoder::BuildLatent(const SoftpackDecoderSpec& spec) {
  const uint64_t floats = (spec.stages - 1) * spec.codebook_stride + spec.levels * spec.width;
  if (!codebooks_.Allocate(floats)) return kSoftpackOutOfMemory;
  std::copy_n(spec.codebooks, floats, codebooks_.data());
  const MatrixView basis{spec.basis, spec.classes, 1};
  return basis_.Pack(*table_, basis, spec.latent, spec.classes) ? kSoftpackOk
                                                                : kSoftpackOutOfMemory;
}

int SoftpackDecoder::BuildTable(const SoftpackDecoderSpec& spec) {
  if (spec.stages > UINT64_MAX / stride_ / spec.levels) return kSoftpackOutOfMemory;
  if (!rows_.Allocate(spec.stages * spec.levels * stride_)) return kSoftpackOutOfMemory;
  return softpack::ParallelFor(0, spec.stages,
                               [&](uint64_t stage) { return BuildStage(spec, stage); });
}

int SoftpackDecoder::BuildStage(const SoftpackDecoderSpec& spec, uint64_t stage) {
  PackedMatrix basis;
  Buffer<float> scratch(softpack::ScratchFloats(*table_));
  const MatrixView part{spec.basis + stage * spec.latent_step * spec.classes, spec.classes, 1};
  if (!scratch || !basis.Pack(*table_, part, spec.width, spec.classes)) return kSoftpackOutOfMemory;
  float* const rows = rows_.data() + stage * spec.levels * stride_;
  std::fill_n(rows, spec.levels * stride_, 0.0f);
  const MatrixView codebook{spec.codebooks + stage * spec.codebook_stride, spec.width, 1};
  basis.MultiplyInto(*table_, codebook, spec.levels, rows, stride_, scratch.data());
  return kSoftpackOk;
}

SoftpackDecoderInfo SoftpackDecoder::Info() const {
  const uint64_t bytes = bias_.bytes() + codebooks_.bytes() + basis_.bytes() + rows_.bytes();
  return {spec_.method, sizeof(SoftpackDecoder) + bytes};
}

int SoftpackDecoder::Decode(const SoftpackDecodeArgs& args) const {
  const uint64_t block = LabelsATask(args);
  const uint64_t tasks = (args.count + block - 1) / block;
  return softpack::ParallelFor(args.threads, tasks, [&](uint64_t task) {
    return DecodeBlock(args, task * block, std::min(block, args.count - task * block));
  });
}

uint64_t SoftpackDecoder::LabelsATask(const SoftpackDecodeArgs& args) const {
  if (spec_.method == kSoftpackMethodTable) return kTableBlock;
  const uint64_t threads = softpack::ResolveThreads(args.threads);
  const uint64_t share = std::max<uint64_t>((args.count + threads - 1) / threads, 1);
  return std::min<uint64_t>(table_->row_block, RoundUp(share, table_->strip_rows));
}

int SoftpackDecoder::DecodeBlock(const SoftpackDecodeArgs& args, uint64_t first,
                                 uint64_t count) const {
  const bool latent = spec_.method == kSoftpackMethodLatent;
  Scratch scratch;
  if (!scratch.indices.Allocate(spec_.stages) ||
      !scratch.values.Allocate(latent ? count * stride_ : stride_)) {
    return kSoftpackOutOfMemory;
  }
  if (!latent) {
    if (!scratch.sources.Allocate(spec_.stages)) return kSoftpackOutOfMemory;
    for (uint64_t i = first; i < first + count; ++i) {
      const int status = ReadIndices(args, i, scratch.indices.data());
      if (status != kSoftpackOk) return status;
      for (uint64_t stage = 0; stage < spec_.stages; ++stage) {
        const uint64_t row = stage * spec_.levels + scratch.indices.data()[stage];
        scratch.sources.data()[stage] = rows_.data() + row * stride_;
      }
      table_->add_rows(bias_.data(), scratch.sources.data(), spec_.stages, stride_,
                       scratch.values.data());
      Finish(args, i, scratch.values.data());
    }
    return kSoftpackOk;
  }
  if (!scratch.latents.Allocate(count * spec_.latent) ||
      !scratch.product.Allocate(softpack::ScratchFloats(*table_))) {
    return kSoftpackOutOfMemory;
  }
  for (uint64_t i = 0; i < count; ++i) {
    const int status = ReadIndices(args, first + i, scratch.indices.data());
    if (status != kSoftpackOk) return status;
    AddCodewords(scratch.indices.data(), scratch.latents.data() + i * spec_.latent);
    std::copy_n(bias_.data(), stride_, scratch.values.data() + i * stride_);
  }
  const MatrixView latents{scratch.latents.data(), spec_.latent, 1};
  basis_.MultiplyInto(*table_, latents, count, scratch.values.data(), stride_,
                      scratch.product.data());
  for (uint64_t i = 0; i < count; ++i) Finish(args, first + i, scratch.values.data() + i * stride_);
  return kSoftpackOk;
}

// Indices of the label at `position` of the ones asked for.
int SoftpackDecoder::ReadIndices(const SoftpackDecodeArgs& args, uint64_t position,
                                 uint16_t* indices) const {
  const uint64_t label = args.list == nullptr ? args.first + position : args.list[position];
  const uint64_t label_bits = spec_.stages * spec_.bits;
  if (label >= args.codes_bytes * 8 / label_bits) return kSoftpackInvalidArgument;
  softpack::UnpackIndices(args.codes, label * label_bits, spec_.bits, spec_.stages, indices);
  const uint16_t greatest = *std::max_element(indices, indices + spec_.stages);
  return greatest < spec_.levels ? kSoftpackOk : kSoftpackInvalidCodes;
}

void SoftpackDecoder::AddCodewords(const uint16_t* indices, float* latent) const {
  const bool apart = spec_.latent_step >= spec_.width;
  std::fill_n(latent, spec_.latent, 0.0f);
  for (uint64_t stage = 0; stage < spec_.stages; ++stage) {
    const float* codeword =
        codebooks_.data() + stage * spec_.codebook_stride + indices[stage] * spec_.width;
    float* const to = latent + stage * spec_.latent_step;
    if (apart)
      std::copy_n(codeword, spec_.width, to);
    else
      for (uint64_t i = 0; i < spec_.width; ++i) to[i] += codeword[i];
  }
}

void SoftpackDecoder::Finish(const SoftpackDecodeArgs& args, uint64_t position,
                             float* values) const {
  const uint64_t start = position * spec_.classes;
  float* const out_float = args.out_float == nullptr ? nullptr : args.out_float + start;
  uint16_t* const out_half = args.out_half == nullptr ? nullptr : args.out_half + start;
  table_->finish(head_, values, spec_.classes, out_float, out_half);
}
