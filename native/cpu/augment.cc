// Views of images, one per task. A view is rendered row by row: the two source rows that an output
// row lies between are resized across first, and kept for the next output row, which often lies
// between the same two; then they are blended and normalised.
//
// Cost per output pixel: 2 to 4 resized source pixels (7 instructions each with vectors) and three
// blended elements; bound by instructions, not by memory.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "cpu/buffer.h"
#include "cpu/filtered_part.h"
#include "cpu/operations.h"
#include "cpu/view_part.h"

namespace softpack {
namespace {

constexpr uint32_t kWeightOne = 2048;
constexpr uint32_t kNoRow = UINT32_MAX;

bool SidesFit(uint32_t height, uint32_t width) {
  return height <= SOFTPACK_MAX_SIDE && width <= SOFTPACK_MAX_SIDE;
}

bool Inside(const int32_t* fields, uint32_t least, uint32_t height, uint32_t width) {
  const int64_t top = fields[0], left = fields[1], rows = fields[2], columns = fields[3];
  return top >= 0 && left >= 0 && rows >= least && columns >= least && top + rows <= height &&
         left + columns <= width;
}

Rectangle ReadRectangle(const int32_t* fields) {
  return {static_cast<uint32_t>(fields[0]), static_cast<uint32_t>(fields[1]),
          static_cast<uint32_t>(fields[2]), static_cast<uint32_t>(fields[3])};
}

// The place of output position p of `size` in a crop of `length` source pixels.
struct Tap {
  uint32_t first;
  uint32_t second;
  uint32_t weight;  // of the second, 0 to kWeightOne
};

Tap TapAt(uint32_t position, uint32_t size, uint32_t start, uint32_t length) {
  // Source coordinate ((2 p + 1) length / size - 1) / 2 as an exact fraction over 2 size.
  const int64_t whole = 2 * int64_t{size};
  const int64_t numerator = (2 * int64_t{position} + 1) * length - size;
  const int64_t index = numerator < 0 ? -1 : numerator / whole;
  const int64_t rest = numerator - index * whole;
  const int64_t last = int64_t{length} - 1;
  return {start + static_cast<uint32_t>(std::max<int64_t>(index, 0)),
          start + static_cast<uint32_t>(std::min(index + 1, last)),
          static_cast<uint32_t>((rest * kWeightOne + size) / whole)};
}

// Parts resized from the two pixels that each output pixel lies between.
class BilinearPart {
 public:
  BilinearPart(const KernelTable& table, const SoftpackAugmentArgs& args)
      : table_(table), args_(args) {
    for (uint32_t i = 0; i < kPatternFloats; ++i) {
      scale_.scale[i] = args.scale[i % kChannels];
      scale_.shift[i] = args.shift[i % kChannels];
    }
  }

  // Renders the part of the view inside `box`: replaces what is there or, with `weight`, mixes
  // into it.
  int Render(const Part& part, const Rectangle& box, float* out, const float* weight) {
    if (!Reserve()) return kSoftpackOutOfMemory;
    FillTaps(part, box);
    row_of_[0] = row_of_[1] = kNoRow;
    const uint64_t length = uint64_t{box.width} * kChannels;
    for (uint32_t y = box.top; y < box.top + box.height; ++y) {
      const Tap tap = TapAt(y, args_.height, part.crop.top, part.crop.height);
      const int32_t* const top = ResizedRow(part, tap.first, tap.second, box.width);
      const int32_t* const bottom = ResizedRow(part, tap.second, tap.first, box.width);
      if (top == nullptr || bottom == nullptr) return kSoftpackOutOfMemory;
      float* const row = out + (uint64_t{y} * args_.width + box.left) * kChannels;
      const int32_t lower = static_cast<int32_t>(tap.weight);
      table_.blend_rows(top, bottom, lower, length, scale_,
                        weight == nullptr ? row : mixed_.data());
      if (weight != nullptr) table_.mix_rows(mixed_.data(), *weight, length, row);
    }
    return kSoftpackOk;
  }

 private:
  bool Reserve() {
    // Rows of sums are read in whole patterns and written one sum beyond.
    const uint64_t floats = uint64_t{args_.width} * kChannels;
    const uint64_t padded = floats + kPatternFloats;
    return taps_.Reserve(args_.width) && mixed_.Reserve(floats) && rows_[0].Reserve(padded) &&
           rows_[1].Reserve(padded);
  }

  void FillTaps(const Part& part, const Rectangle& box) {
    for (uint32_t i = 0; i < box.width; ++i) {
      const uint32_t x = box.left + i;
      const uint32_t position = part.mirrored ? args_.width - 1 - x : x;
      const Tap tap = TapAt(position, args_.width, part.crop.left, part.crop.width);
      taps_.data()[i] = {tap.first * kChannels, tap.second * kChannels,
                         (kWeightOne - tap.weight) | tap.weight << 16};
    }
  }

  // Source row `row` resized across, while `kept` stays as it is if it is there. nullptr if
  // allocation fails.
  const int32_t* ResizedRow(const Part& part, uint32_t row, uint32_t kept, uint64_t pixels) {
    for (uint32_t i = 0; i < 2; ++i) {
      if (row_of_[i] == row) return rows_[i].data();
    }
    const uint32_t i = row_of_[0] == kept ? 1 : 0;
    const uint64_t row_bytes = uint64_t{part.image.width} * kChannels;
    const uint8_t* from = part.image.pixels + row * row_bytes;
    if (row + 1 == part.image.height) {
      // Nothing may be read beyond the image, and kernels read one byte beyond a pixel.
      if (!last_row_.Reserve(row_bytes + 1)) return nullptr;
      std::memcpy(last_row_.data(), from, row_bytes);
      last_row_.data()[row_bytes] = 0;
      from = last_row_.data();
    }
    table_.resize_columns(from, taps_.data(), pixels, rows_[i].data());
    row_of_[i] = row;
    return rows_[i].data();
  }

  const KernelTable& table_;
  const SoftpackAugmentArgs& args_;
  PixelScale scale_;
  Buffer<ColumnTap> taps_;    // [width of the box]
  Buffer<float> mixed_;       // a row of the other view
  Buffer<int32_t> rows_[2];   // resized source rows
  uint32_t row_of_[2] = {};   // which rows those are
  Buffer<uint8_t> last_row_;  // an image's last row and a byte
};

template <class Renderer>
class ViewRenderer {
 public:
  ViewRenderer(const KernelTable& table, const SoftpackAugmentArgs& args)
      : args_(args), renderer_(table, args) {}

  int Render(uint64_t view) {
    const int32_t* const fields = args_.views + view * kSoftpackViewFields;
    const uint64_t floats = uint64_t{args_.height} * args_.width * kChannels;
    float* const out = args_.out + view * floats;
    const Rectangle whole = {0, 0, args_.height, args_.width};
    Part own;
    if (!ReadPart(fields, &own)) return kSoftpackInvalidArgument;
    int status = renderer_.Render(own, whole, out, nullptr);
    if (status != kSoftpackOk || fields[kSoftpackViewPartner] < 0) return status;
    Part other;
    if (!ReadPart(fields + kSoftpackViewPartner, &other)) return kSoftpackInvalidArgument;
    const int32_t* const box = fields + kSoftpackViewBox;
    if (!Inside(box, 0, args_.height, args_.width)) return kSoftpackInvalidArgument;
    if (box[2] > 0) return renderer_.Render(other, ReadRectangle(box), out, nullptr);
    return renderer_.Render(other, whole, out, args_.weights + view);
  }

 private:
  bool ReadPart(const int32_t* fields, Part* part) const {
    const int32_t image = fields[kSoftpackViewImage];
    if (image < 0 || static_cast<uint64_t>(image) >= args_.image_count) return false;
    part->image = args_.images[image];
    part->mirrored = fields[kSoftpackViewFlip] != 0;
    const int32_t* const crop = fields + kSoftpackViewCrop;
    if (!SidesFit(part->image.height, part->image.width)) return false;
    if (!Inside(crop, 1, part->image.height, part->image.width)) return false;
    part->crop = ReadRectangle(crop);
    return true;
  }

  const SoftpackAugmentArgs& args_;
  Renderer renderer_;
};

template <class Renderer>
int RenderViews(const KernelTable& table, const SoftpackAugmentArgs& args) {
  return ParallelFor(args.threads, args.count, [&](uint64_t view) {
    ViewRenderer<Renderer> renderer(table, args);
    return renderer.Render(view);
  });
}

}  // namespace

int Augment(const KernelTable& table, const SoftpackAugmentArgs& args) {
  if (!SidesFit(args.height, args.width)) return kSoftpackInvalidArgument;
  const uint64_t view_bytes = uint64_t{args.height} * args.width * kChannels * sizeof(float);
  AdviseLargeOutput(args.out, args.count * view_bytes);
  if (args.round == kSoftpackRoundU8) return RenderViews<FilteredPart<int32_t>>(table, args);
  if (args.resample == kSoftpackResampleBilinear) return RenderViews<BilinearPart>(table, args);
  return RenderViews<FilteredPart<float>>(table, args);
}

}  // namespace softpack
