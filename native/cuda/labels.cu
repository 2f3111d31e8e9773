// Packed codes to indices: one thread per index, 2 bytes written for `bits` bits read. All external
// input is checked here and nowhere else: an index beyond the codebook, a label beyond the codes
// and a base beyond the bases are reported and read as 0.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "core/bits.h"
#include "core/thread_pool.h"
#include "cuda/decoder.h"
#include "cuda/layout.h"

namespace softpack {
namespace {

struct UnpackParams {
  const uint8_t* codes;
  const uint32_t* list;  // or null: first, first + 1, ...
  uint64_t first;
  uint64_t count;
  uint64_t present;
  uint64_t origin;      // of label 0's bits, in bits before `codes`; without slots
  uint64_t slot_bytes;  // from one label to the next where codes were gathered, or 0
  uint32_t label_bits;
  uint32_t stages;
  uint32_t bits;
  uint32_t levels;
  uint16_t* indices;
  uint32_t* fault;
};

constexpr unsigned kThreads = 256;

__global__ void UnpackKernel(UnpackParams params) {
  const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const uint64_t position = i / params.stages;
  const uint32_t stage = static_cast<uint32_t>(i % params.stages);
  if (position >= params.count) return;
  const uint64_t label = params.list == nullptr ? params.first + position : params.list[position];
  uint16_t index = 0;
  if (label >= params.present) {
    atomicMax(params.fault, static_cast<unsigned>(kSoftpackInvalidArgument));
  } else {
    const uint64_t label_bit = label * params.label_bits;
    const uint64_t start = params.slot_bytes == 0
                               ? label_bit - params.origin
                               : position * params.slot_bytes * 8 + label_bit % 8;
    index =
        ReadIndex(params.codes, start + static_cast<uint64_t>(stage) * params.bits, params.bits);
    if (index >= params.levels) {
      atomicMax(params.fault, static_cast<unsigned>(kSoftpackInvalidCodes));
      index = 0;
    }
  }
  params.indices[i] = index;
}

struct PairParams {
  const uint32_t* from;
  uint32_t* to;
  uint64_t count;
  uint64_t base_rows;
  uint32_t* fault;
};

__global__ void CheckPairsKernel(PairParams params) {
  const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= params.count) return;
  uint32_t row = params.from[i];
  if (row >= params.base_rows) {
    atomicMax(params.fault, static_cast<unsigned>(kSoftpackInvalidArgument));
    row = 0;
  }
  params.to[i] = row;
}

unsigned Blocks(uint64_t items) { return static_cast<unsigned>((items + kThreads - 1) / kThreads); }

}  // namespace

LabelSource::LabelSource(Operation& operation, const SoftpackLabels& labels,
                         const DecoderTables& tables, uint32_t bits, uint64_t chunk)
    : operation_(operation),
      labels_(labels),
      tables_(tables),
      bits_(bits),
      label_bits_(tables.stages * bits),
      present_(labels.codes_bytes * 8 / label_bits_),
      slot_bytes_((label_bits_ + 14) / 8),
      codes_here_(operation.OnDevice(labels.codes)),
      list_here_(operation.OnDevice(labels.list)),
      pairs_here_(operation.OnDevice(labels.base_pairs)),
      weights_here_(operation.OnDevice(labels.base_weights)) {
  if (labels.list == nullptr &&
      (labels.count > present_ || labels.first > present_ - labels.count)) {
    operation.Fail(kSoftpackInvalidArgument);
    return;
  }
  indices_ = operation.Take<uint16_t>(chunk * tables.stages);
  if (list_here_ && !codes_here_) {
    // Only the device knows which labels are needed: all codes go there.
    codes_ = operation.Take<uint8_t>(labels.codes_bytes);
    operation.CopyIn(codes_, labels.codes, labels.codes_bytes);
  } else if (!codes_here_) {
    codes_ = operation.Take<uint8_t>(chunk * slot_bytes_ + 1);
  }
  if (labels.list != nullptr && !list_here_) list_ = operation.Take<uint32_t>(chunk);
  if (tables.base_rows > 0) {
    pairs_ = operation.Take<uint32_t>(2 * chunk);
    if (!weights_here_) weights_ = operation.Take<float>(chunk);
  }
}

// The whole bytes that hold the labels' bits; `origin` is the bit of label 0 relative to them.
const uint8_t* LabelSource::CodesOfRange(uint64_t first, uint64_t count, uint64_t* origin) {
  const uint64_t start = (labels_.first + first) * label_bits_ / 8;
  const uint64_t end = ((labels_.first + first + count) * label_bits_ + 7) / 8;
  operation_.CopyIn(codes_, labels_.codes + start, end - start);
  *origin = start * 8;
  return codes_;
}

// The bytes of each label, in its own slot.
const uint8_t* LabelSource::CodesOfList(uint64_t first, uint64_t count) {
  constexpr uint64_t kLabelsATask = 4096;
  const uint32_t* const list = labels_.list + first;
  const std::unique_ptr<uint8_t[]> gathered(new (std::nothrow) uint8_t[count * slot_bytes_]);
  if (gathered == nullptr) operation_.Fail(kSoftpackOutOfMemory);
  if (!operation_.ok()) return codes_;
  const uint64_t tasks = (count + kLabelsATask - 1) / kLabelsATask;
  operation_.Fail(ParallelFor(operation_.threads(), tasks, [&](uint64_t task) {
    const uint64_t end = std::min(count, (task + 1) * kLabelsATask);
    for (uint64_t i = task * kLabelsATask; i < end; ++i) {
      if (list[i] >= present_) return static_cast<int>(kSoftpackInvalidArgument);
      const uint64_t start = list[i] * label_bits_ / 8;
      const uint64_t stop = (list[i] * label_bits_ + label_bits_ + 7) / 8;
      std::memcpy(gathered.get() + i * slot_bytes_, labels_.codes + start, stop - start);
    }
    return static_cast<int>(kSoftpackOk);
  }));
  operation_.CopyIn(codes_, gathered.get(), count * slot_bytes_);
  return codes_;
}

LabelChunk LabelSource::Next(uint64_t first, uint64_t count) {
  LabelChunk chunk = {count, indices_, nullptr, nullptr};
  UnpackParams params = {};
  params.first = labels_.first + first;
  params.count = count;
  params.present = present_;
  params.label_bits = static_cast<uint32_t>(label_bits_);
  params.stages = static_cast<uint32_t>(tables_.stages);
  params.bits = bits_;
  params.levels = static_cast<uint32_t>(tables_.levels);
  params.indices = indices_;
  params.fault = operation_.fault();
  if (labels_.list != nullptr) {
    params.list = labels_.list + first;
    if (!list_here_) {
      operation_.CopyIn(list_, params.list, count * sizeof(uint32_t));
      params.list = list_;
    }
  }
  if (codes_here_) {
    params.codes = labels_.codes;
  } else if (labels_.list == nullptr) {
    params.codes = CodesOfRange(first, count, &params.origin);
  } else if (list_here_) {
    params.codes = codes_;
  } else {
    params.codes = CodesOfList(first, count);
    params.slot_bytes = slot_bytes_;
  }
  operation_.Run("unpacking codes", UnpackKernel, {Blocks(count * tables_.stages), kThreads},
                 params);
  if (tables_.base_rows == 0) return chunk;

  const uint32_t* pairs = labels_.base_pairs + 2 * first;
  if (!pairs_here_) {
    operation_.CopyIn(pairs_, pairs, 2 * count * sizeof(uint32_t));
    pairs = pairs_;
  }
  operation_.Run("checking bases", CheckPairsKernel, {Blocks(2 * count), kThreads},
                 {pairs, pairs_, 2 * count, tables_.base_rows, operation_.fault()});
  chunk.base_pairs = pairs_;
  chunk.base_weights = labels_.base_weights + first;
  if (!weights_here_) {
    operation_.CopyIn(weights_, chunk.base_weights, count * sizeof(float));
    chunk.base_weights = weights_;
  }
  return chunk;
}

}  // namespace softpack
