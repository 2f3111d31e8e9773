// Parts of views resized by a filter of any width, as Pillow and torchvision resize: across first,
// each source row once, then down.
//
// Cost per output pixel: 2 s + 1 resized source rows' share and as many weighed rows, s being the
// source pixels per output pixel of an axis, at least 1.
#ifndef SOFTPACK_CPU_FILTERED_PART_H_
#define SOFTPACK_CPU_FILTERED_PART_H_

#include "cpu/buffer.h"
#include "cpu/kernel_table.h"
#include "cpu/view_part.h"

namespace softpack {

// The taps of an axis' output positions and all their weights.
template <class T>
class FilterTaps {
 public:
  // Room for `positions` of an axis of `size`, of a crop of `length`. False if allocation fails.
  bool Reserve(uint32_t positions, uint32_t size, uint32_t length, bool antialias);
  // The next position's tap; `unit` is the distance of source pixels. Positions are added in any
  // order.
  void Add(uint32_t position, uint32_t start, uint32_t unit);

  const FilterTap& tap(uint32_t i) const { return taps_.data()[i]; }
  const FilterTap* taps() const { return taps_.data(); }
  const T* weights() const { return weights_.data(); }
  uint32_t widest() const { return widest_; }

 private:
  uint32_t size_ = 0;
  uint32_t length_ = 0;
  double support_ = 1;   // source pixels on each side of the centre
  uint32_t widest_ = 0;  // pixels of a tap at most
  uint32_t taps_count_ = 0;
  uint32_t weights_count_ = 0;
  Buffer<FilterTap> taps_;
  Buffer<T> weights_;
  Buffer<double> exact_;  // [widest], weights of one tap
};

// T: float, or int32_t for pixels rounded to 8 bits after each axis.
template <class T>
class FilteredPart {
 public:
  FilteredPart(const KernelTable& table, const SoftpackAugmentArgs& args);

  // Renders the part of the view inside `box`: replaces what is there or, with `weight`, mixes
  // into it.
  int Render(const Part& part, const Rectangle& box, float* out, const float* weight);

 private:
  bool Reserve(const Part& part, const Rectangle& box);
  bool FillTaps(const Part& part, const Rectangle& box);
  void ResizeRow(const Part& part, uint32_t row, uint64_t pixels);
  T* RowAt(uint32_t row) { return rows_.data() + row % kept_ * stride_; }

  const KernelTable& table_;
  const SoftpackAugmentArgs& args_;
  PixelScale scale_;
  FilterTaps<T> columns_;  // of the positions of the box
  FilterTaps<T> lines_;
  uint32_t kept_ = 1;         // resized rows kept: those of the tallest tap
  uint64_t stride_ = 0;       // elements of a kept row
  Buffer<T> rows_;            // [kept, stride], source row r at r mod kept
  Buffer<const T*> sources_;  // [kept], rows of a tap
  Buffer<float> mixed_;       // a row of the other view
  Buffer<uint8_t> last_row_;  // an image's last row and a byte
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_FILTERED_PART_H_
