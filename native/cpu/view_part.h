// A part of a view: what of which image goes where.
#ifndef SOFTPACK_CPU_VIEW_PART_H_
#define SOFTPACK_CPU_VIEW_PART_H_

#include <cstdint>

#include "core/backend.h"

namespace softpack {

constexpr uint32_t kChannels = 3;

struct Rectangle {
  uint32_t top;
  uint32_t left;
  uint32_t height;
  uint32_t width;
};

// An image, its crop and whether it is mirrored.
struct Part {
  SoftpackImage image;
  Rectangle crop;
  bool mirrored;
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_VIEW_PART_H_
