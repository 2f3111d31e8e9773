// A decoder of the general form on the device (see SoftpackDecoderSpec).
//
// Labels are decoded a chunk at a time: packed codes to indices, indices to rows of values by one
// of the methods, rows to labels or to losses. A chunk's rows lie in L2 between the steps; up to
// 1,024 classes the table methods keep them in registers instead.
#ifndef SOFTPACK_CUDA_DECODER_H_
#define SOFTPACK_CUDA_DECODER_H_

#include "core/backend.h"
#include "cuda/operation.h"
#include "cuda/rows.h"
#include "cuda/slices.h"
#include "cuda/table_clusters.h"

namespace softpack {

struct FixedTables;

// The indices of a chunk on the device, all within bounds, and the input of a prediction.
struct LabelChunk {
  uint64_t count;
  const uint16_t* indices;     // [count, stages]
  const uint32_t* base_pairs;  // [count, 2], each below base_rows; null without bases
  const float* base_weights;   // [count]
};

// Parameters that the kernels of one method share. Pointers are to device memory.
struct DecoderTables {
  uint64_t classes;
  uint64_t stride;  // of rows of values: classes rounded up
  uint64_t latent;
  uint64_t stages;
  uint64_t levels;
  uint64_t width;
  uint64_t codebook_stride;
  uint64_t latent_step;
  uint64_t base_rows;

  const float* bias;        // [stride], zeros in the padding
  const float* codebooks;   // latent, bfloat, split
  const float* bases;       // of those, [base_rows, latent]
  const float* basis;       // latent: [latent, classes]
  const float* base_table;  // table, fixed: [base_rows, stride], bases times the basis

  const float* table;  // table: [stages, levels, table_stride] in lane order
  uint64_t table_stride;

  const uint32_t* fixed;     // fixed: the same in pairs of 16 bits
  const float* start;        // [stride]
  const float* steps;        // [runs, stride], times 2^-16
  const uint32_t* run_ends;  // [runs], the stage after each run's last
  uint64_t runs;
  const uint4* sum_slices;  // fixed: the rows again, cut for shared memory (slices.h)
  const uint4* label_slices;
  const uint4* cluster_slices;  // instead, for version 2 (table_clusters.h)
  uint32_t table_clusters;      // of version 2, that run at once

  // bfloat, split: the basis transposed, [stride, latent_stride] in bfloat16, and for split the
  // rounding errors.
  const uint16_t* basis_high;
  const uint16_t* basis_low;
  uint64_t latent_stride;
  // Likewise the codebooks, in the layout of `codebooks`; null unless segments are adjacent.
  const uint16_t* codebooks_high;
  const uint16_t* codebooks_low;

  // Version 2 of bfloat (bfloat_pack.h), or null.
  const uint16_t* hopper_tiles;
  const uint32_t* hopper_codebook;
  uint32_t hopper_clusters;       // that run at once
  uint32_t hopper_loss_clusters;  // likewise; 0: losses are version 1's
};

// Element e of a label's latent vector: codewords in order of stages, then the prediction.
__device__ inline float LatentElement(const DecoderTables& tables, const LabelChunk& chunk,
                                      uint64_t label, uint64_t e) {
  const uint16_t* const indices = chunk.indices + label * tables.stages;
  // Divisions of 64 bits are calls.
  const uint32_t step = static_cast<uint32_t>(tables.latent_step);
  const uint32_t width = static_cast<uint32_t>(tables.width), element = static_cast<uint32_t>(e);
  // The stages that reach it.
  uint32_t first = 0, last = static_cast<uint32_t>(tables.stages) - 1;
  if (step > 0) {
    first = element >= width ? (element - width) / step + 1 : 0;
    last = element / step < last ? element / step : last;
  }
  float value = 0.0f;
  for (uint32_t stage = first; stage <= last; ++stage) {
    const uint64_t codeword = stage * tables.codebook_stride + indices[stage] * tables.width;
    const float part = tables.codebooks[codeword + (element - stage * step)];
    // Adjacent segments are copied and keep the sign of zeros.
    value = step >= width ? part : value + part;
  }
  if (chunk.base_pairs != nullptr) {
    const float* const a = tables.bases + chunk.base_pairs[2 * label] * tables.latent;
    const float* const b = tables.bases + chunk.base_pairs[2 * label + 1] * tables.latent;
    const float weight = chunk.base_weights[label];
    value = fmaf(weight, a[e], fmaf(1.0f - weight, b[e], value));
  }
  return value;
}

// Memory between the steps of a chunk, as its method needs it.
struct Working {
  float* values = nullptr;      // slices: kSliceSlots + 1 floats per label
  float* vectors = nullptr;     // latent: [count, latent]
  uint16_t* latents = nullptr;  // bfloat, split
  uint16_t* rows = nullptr;     // slices: SliceRows elements
  uint4* partial = nullptr;     // clusters: PartialUnits
};

class CudaDecoder {
 public:
  int Create(const SoftpackDecoderSpec& spec);
  // `operation` carries them out, or measures what they work in.
  int Decode(Operation& operation, const SoftpackDecodeArgs& args) const;
  // `type` (SoftpackDtype): that of logits and gradient, whatever their pointers say.
  int DecodeKl(Operation& operation, const SoftpackDecodeKlArgs& args, uint32_t type) const;
  SoftpackDecoderInfo Info() const;

 private:
  int CreateTables(const SoftpackDecoderSpec& spec);
  void CreateLatent(Operation& operation, const SoftpackDecoderSpec& spec);
  void CreateTable(Operation& operation, const SoftpackDecoderSpec& spec);
  void CreateFixed(Operation& operation, const SoftpackDecoderSpec& spec);
  void CreateSlices(Operation& operation, const FixedTables& host);
  void CreateClusters(Operation& operation, const FixedTables& host, const clusters::Plan& plan);
  void CreateBfloat(Operation& operation, const SoftpackDecoderSpec& spec, bool split);
  void CreateHopper(Operation& operation, const SoftpackDecoderSpec& spec);
  void CreateBaseTable(Operation& operation, const SoftpackDecoderSpec& spec);

  template <class T>
  T* Hold(Operation& operation, DeviceArray& array, uint64_t count);

  bool MultipliesBfloat() const;
  bool RowsFitRegisters() const;
  bool DecodesByHopper(RowUse use) const;
  uint64_t ChunkLabels(uint64_t count, RowUse use) const;
  Working TakeWorking(Operation& operation, uint64_t chunk, RowUse use, bool slices) const;
  uint64_t PartialUnits(uint64_t count) const;
  bool DecodesBySlices(uint64_t count) const;
  bool DecodesByClusters(uint64_t count) const;
  uint64_t SliceRows(uint64_t count) const;
  void DecodeBySlices(Operation& operation, const LabelChunk& chunk, const RowTarget& target,
                      const Working& working) const;
  void UseRows(Operation& operation, const LabelChunk& chunk, const RowTarget& target, RowUse use,
               const Working& working) const;

  uint32_t method_ = 0;
  uint32_t bits_ = 0;
  HeadParams head_ = {};
  DecoderTables tables_ = {};
  SliceShape slices_ = {};
  DeviceArray bias_, codebooks_, bases_, basis_, base_table_, table_, start_, steps_, run_ends_,
      basis_high_, basis_low_, codebooks_high_, codebooks_low_, sum_slices_, label_slices_,
      cluster_slices_, hopper_tiles_, hopper_codebook_;
};

template <class T>
T* CudaDecoder::Hold(Operation& operation, DeviceArray& array, uint64_t count) {
  if (!operation.ok()) return nullptr;
  if (count > UINT64_MAX / 2 / sizeof(T)) {
    operation.Fail(kSoftpackOutOfMemory);
    return nullptr;
  }
  operation.Fail(array.Allocate(count * sizeof(T)));
  return array.as<T>();
}

// ---- The steps, each a kernel or two ----------------------------------------------------------

// Brings the labels of a call to the device, a chunk at a time.
class LabelSource {
 public:
  LabelSource(Operation& operation, const SoftpackLabels& labels, const DecoderTables& tables,
              uint32_t bits, uint64_t chunk);
  LabelChunk Next(uint64_t first, uint64_t count);

 private:
  const uint8_t* CodesOfRange(uint64_t first, uint64_t count, uint64_t* origin);
  const uint8_t* CodesOfList(uint64_t first, uint64_t count);

  Operation& operation_;
  const SoftpackLabels& labels_;
  const DecoderTables& tables_;
  uint32_t bits_;
  uint64_t label_bits_;
  uint64_t present_;     // labels that the codes hold
  uint64_t slot_bytes_;  // bytes that hold any label, wherever its first bit lies
  bool codes_here_;
  bool list_here_;
  bool pairs_here_;
  bool weights_here_;
  uint8_t* codes_ = nullptr;
  uint32_t* list_ = nullptr;
  uint16_t* indices_ = nullptr;
  uint32_t* pairs_ = nullptr;
  float* weights_ = nullptr;
};

// values[count, stride]: v without the head. `latents`: [count, latent].
void RunLatentValues(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     float* latents, float* values);
// `latents`: BfloatLatents elements.
void RunBfloatValues(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     uint16_t* latents, float* values);
uint64_t BfloatLatents(const DecoderTables& tables, uint64_t count);
// The same directly to labels or losses, if possible.
bool BfloatLabelsFit(uint64_t classes);
void RunBfloatLabels(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     const RowTarget& target, RowUse use, uint16_t* latents);
// Labels by version 2, of a decoder that has it.
void RunHopperLabels(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     const RowTarget& target);
// Likewise losses and gradients; see DecoderTables::hopper_loss_clusters.
uint32_t CountLossClusters(Operation& operation, const DecoderTables& tables);
void RunHopperLosses(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     const RowTarget& target);
// Rows of `values` [count, stride] used up.
void RunRows(Operation& operation, const RowTarget& target, RowUse use, float* values,
             uint64_t stride);
// Of `count` labels, those that stay in L2 between two steps, at `label_bytes` each; at least 1.
uint64_t CachedLabels(uint64_t count, uint64_t label_bytes);
// From indices to labels or losses, through `values` if rows do not fit registers.
void RunTable(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
              const RowTarget& target, RowUse use, float* values);
void RunFixed(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
              const RowTarget& target, RowUse use, float* values);
// Labels by version 2 of tables in shared memory, of a decoder that has it.
void RunClusterTables(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                      const RowTarget& target, uint4* partial);
// Clusters of a plan that the device runs at once; 0 if it runs none.
uint32_t TableClusters(const clusters::Plan& plan);

}  // namespace softpack

#endif  // SOFTPACK_CUDA_DECODER_H_
