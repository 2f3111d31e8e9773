#include "binding/augment.h"

#include <algorithm>

#include "core/backend.h"

namespace softpack {

// augment(images: Uint8Array[], sizes: Uint32Array, views: Int32Array, weights: Float32Array,
//         out: Float32Array, height: number, width: number, scale: Float32Array,
//         shift: Float32Array, threads: number, resample: number, round: number): number
// augmentAsync(the same): Promise<number>
Work ReadAugment(Arguments& arguments) {
  constexpr uint64_t kChannels = 3;
  SoftpackAugmentArgs args = {};
  const std::vector<Span<uint8_t>> pixels = arguments.ByteArrays(0, "images");
  const Span<uint32_t> sizes = arguments.DoubleWords(1, "sizes");
  if (sizes.length != 2 * pixels.size()) arguments.Refuse("sizes", "two numbers per image");
  std::vector<SoftpackImage> images;
  for (size_t i = 0; i < pixels.size(); ++i) {
    const uint32_t height = sizes.data[2 * i];
    const uint32_t width = sizes.data[2 * i + 1];
    const bool fits = height <= SOFTPACK_MAX_SIDE && width <= SOFTPACK_MAX_SIDE &&
                      pixels[i].length == uint64_t{height} * width * kChannels;
    if (!fits) arguments.Refuse("images", "as many bytes as their sizes say");
    images.push_back({pixels[i].data, height, width});
  }
  const Span<int32_t> views = arguments.Integers(2, "views");
  if (views.length % kSoftpackViewFields != 0) arguments.Refuse("views", "whole views");
  args.views = views.data;
  args.count = views.length / kSoftpackViewFields;
  args.weights = arguments.Floats(3, "weights", args.count);
  args.height = arguments.Small(5, "height", 1, SOFTPACK_MAX_SIDE);
  args.width = arguments.Small(6, "width", 1, SOFTPACK_MAX_SIDE);
  const uint64_t view = uint64_t{args.height} * args.width * kChannels;
  args.out = arguments.Floats(4, "out", arguments.Product("out", args.count, view));
  std::copy_n(arguments.Floats(7, "scale", kChannels), kChannels, args.scale);
  std::copy_n(arguments.Floats(8, "shift", kChannels), kChannels, args.shift);
  args.threads = arguments.Threads(9);
  args.resample = arguments.Small(10, "resample", 0, kSoftpackResampleAntialias);
  args.round = arguments.Small(11, "round", 0, kSoftpackRoundU8);
  return [args, images = std::move(images), backend = arguments.backend()]() mutable {
    args.images = images.data();
    args.image_count = images.size();
    return backend->augment(&args);
  };
}

}  // namespace softpack
