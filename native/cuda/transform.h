// Labels of codec `transform` on the device: blocks to records of indices, once per row, and labels
// of any positions from those.
#ifndef SOFTPACK_CUDA_TRANSFORM_H_
#define SOFTPACK_CUDA_TRANSFORM_H_

#include "core/device_module.h"
#include "core/rans.h"
#include "cuda/operation.h"
#include "cuda/rows.h"

namespace softpack {

// A trellis in registers: the next state is a nibble, the context of a state a bit. Zeros without
// one, when all columns stay in state 0.
struct PackedTrellis {
  uint64_t next;
  uint32_t contexts;
};

__device__ inline uint32_t NextState(const PackedTrellis& trellis, uint32_t state, int32_t value) {
  return static_cast<uint32_t>(trellis.next >> 4 * (2 * state + (value & 1))) & 15;
}
__device__ inline uint32_t ContextOf(const PackedTrellis& trellis, uint32_t state) {
  return trellis.contexts >> state & 1;
}

// Where the labels of a row lie; see SoftpackTransformRow.
struct RecordShape {
  static constexpr uint64_t kHeadBytes = 16;

  uint32_t components;
  uint32_t block_bits;  // log2 of the labels of a full block
  uint64_t bytes;       // of a record
};

// Tables of the kernels, on the device.
struct TransformTables {
  RecordShape record;
  PackedTrellis trellis;
  const uint32_t* entries;     // [tables, 2^12]
  const uint16_t* row_tables;  // [components, 2]
  const float* shifts;         // [components], in units
  double unit;
  const float* bases;  // [base_rows, components], or null
  uint64_t base_rows;
  float largest;  // magnitude of latents up to which no value can overflow
};

// Of the labels of one chunk.
struct TransformChunk {
  const uint8_t* records;
  uint64_t record_count;
  const uint32_t* list;  // or null: first, first + 1, ...
  uint64_t first;
  uint64_t count;
  const uint32_t* pairs;  // [count, 2], or null
  const float* weights;
};

// All pointers of the row are to device memory.
void RunStreams(Operation& operation, const TransformTables& tables,
                const SoftpackTransformRow& row);
// latents[count, components], checked for all that indices and pairs could make wrong.
void RunTransformLatents(Operation& operation, const TransformTables& tables,
                         const TransformChunk& chunk, float* latents);

class CudaTransform {
 public:
  int Create(const SoftpackTransformSpec& spec);
  uint64_t record_bytes() const { return tables_.record.bytes; }
  int Unpack(const SoftpackTransformRow& row) const;
  int Decode(Operation& operation, float tau, const SoftpackDecodeArgs& args) const;
  int DecodeKl(Operation& operation, float tau, const SoftpackDecodeKlArgs& args,
               uint32_t type) const;

 private:
  template <class Target>
  int DecodeChunks(Operation& operation, const SoftpackLabels& labels, Target& target,
                   RowUse use) const;

  uint64_t classes_ = 0;
  uint64_t stride_ = 0;
  TransformTables tables_ = {};
  DeviceArray entries_, row_tables_, shifts_, bases_, basis_, bias_;
};

}  // namespace softpack

#endif  // SOFTPACK_CUDA_TRANSFORM_H_
