// Sources of a decoder's rows of values: codes in, v = bias + latent . basis out, before the
// head.
#ifndef SOFTPACK_CPU_ROW_SOURCE_H_
#define SOFTPACK_CPU_ROW_SOURCE_H_

#include <memory>
#include <new>
#include <utility>

#include "core/backend.h"
#include "cpu/bfloat_unit.h"
#include "cpu/buffer.h"
#include "cpu/kernel_table.h"

namespace softpack {

// Working memory of one block of labels.
struct RowScratch {
  Buffer<uint16_t> indices;  // [labels, stages]
  Buffer<uint16_t> grouped;  // the same, as a table reads them
  Buffer<int16_t> sums;
  Buffer<float> values;
  Buffer<float> latents;
  Buffer<uint16_t> bfloats;  // rounded latents
  Buffer<float> product;     // of KernelTable::multiply
  Buffer<float> row;         // one row, for head and loss
  Buffer<float> second_row;

  uint64_t bytes() const {
    return BytesOf(indices, grouped, sums, values, latents, bfloats, product, row, second_row);
  }
};

struct CodeBlock {
  const uint16_t* indices;  // [labels, stages], each below `levels`
  uint64_t labels;
  const uint32_t* base_pairs;  // [labels, 2], each below `base_rows`; null without bases
  const float* base_weights;   // [labels]
  const float* latents;        // [labels, latent] instead of all these; null: none are given
};

// Row i of a block is `first` with its pointer moved on by i * label_stride elements.
struct RowBlock {
  RowView first;
  uint64_t label_stride;

  RowView Row(uint64_t i) const {
    RowView row = first;
    if (row.sums != nullptr)
      row.sums += i * label_stride;
    else
      row.floats += i * label_stride;
    return row;
  }
};

class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual uint64_t bytes() const = 0;
  // Labels per block, for `count` labels on `threads` threads.
  virtual uint64_t BlockLabels(uint64_t count, uint64_t threads) const = 0;
  // The rows lie in `scratch` until its next use.
  virtual int Rows(const CodeBlock& block, RowScratch* scratch, RowBlock* rows) const = 0;
  // [base_rows, padded classes]: the predictions that rows do not include yet; or null.
  virtual const float* base_rows() const { return nullptr; }
};

// Elements of a row of values: classes, padded for whole groups of head sums.
inline uint64_t PaddedClasses(uint64_t classes) {
  return (classes + kHeadSums - 1) / kHeadSums * kHeadSums;
}

// Creates a source of class Rows from `arguments` and then from `spec`; returns a status.
template <class Rows, class... Arguments>
int CreateRows(const SoftpackDecoderSpec& spec, std::unique_ptr<RowSource>* source,
               const Arguments&... arguments) {
  auto created = std::unique_ptr<Rows>(new (std::nothrow) Rows(arguments...));
  if (created == nullptr) return kSoftpackOutOfMemory;
  const int status = created->Create(spec);
  if (status == kSoftpackOk) *source = std::move(created);
  return status;
}

// `spec` is read during creation and not kept. Each returns a status.
int CreateLatentRows(const KernelTable& table, const SoftpackDecoderSpec& spec,
                     std::unique_ptr<RowSource>* source);
// Tables of float32.
int CreateTableRows(const KernelTable& table, const SoftpackDecoderSpec& spec,
                    std::unique_ptr<RowSource>* source);
// Tables of 16-bit fixed point. kSoftpackInvalidArgument if a table is not finite.
int CreateFixedRows(const KernelTable& table, const SoftpackDecoderSpec& spec,
                    std::unique_ptr<RowSource>* source);
int CreateBfloatRows(const KernelTable& table, const BfloatUnit& unit,
                     const SoftpackDecoderSpec& spec, bool split,
                     std::unique_ptr<RowSource>* source);

}  // namespace softpack

#endif  // SOFTPACK_CPU_ROW_SOURCE_H_
