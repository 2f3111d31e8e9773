// Where version 2 of `bfloat` (bfloat_hopper.cu) keeps what it multiplies: plain functions for host
// and device, tested on the CPU.
//
// The latent elements are multiplied in words of two, the second factor's order following the
// first's, so that the order is free: first all words that lie within one codeword, segment after
// segment; then, if codewords are odd, the last elements of two segments a word. No element is
// padded but at the end. Classes are in an order of their own within a tile, such that a thread of
// a product's warpgroup holds four adjacent ones.
#ifndef SOFTPACK_CUDA_BFLOAT_PACK_H_
#define SOFTPACK_CUDA_BFLOAT_PACK_H_

#include <cstdint>

#include "core/bits.h"

namespace softpack {
namespace hopper {

constexpr uint32_t kTileLabels = 128;
constexpr uint32_t kTileClasses = 256;
constexpr uint32_t kTileDepth = 64;              // latent elements
constexpr uint32_t kTileWords = kTileDepth / 2;  // of a label
constexpr uint32_t kStepWords = 8;               // of a product's 16 elements
constexpr uint32_t kTileSteps = kTileWords / kStepWords;
constexpr uint32_t kTileElements = kTileClasses * kTileDepth;
constexpr uint32_t kTileBytes = kTileElements * 2;
constexpr uint32_t kMostColumns = 4;  // tiles of classes: a cluster of two times four blocks

struct Shape {
  uint32_t stages;
  uint32_t width;
  uint32_t levels;
  uint32_t classes;

  SOFTPACK_HOST_DEVICE uint32_t whole_words() const { return width / 2 * stages; }
  SOFTPACK_HOST_DEVICE uint32_t words() const {
    return whole_words() + (width % 2 == 0 ? 0 : (stages + 1) / 2);
  }
  // Tiles from one end of the latent elements to the other.
  SOFTPACK_HOST_DEVICE uint32_t depth() const { return (words() + kTileWords - 1) / kTileWords; }
  // Steps of 16 elements in which every word is a codeword's own.
  SOFTPACK_HOST_DEVICE uint32_t whole_steps() const {
    return width % 2 == 0 ? depth() * kTileSteps : whole_words() / kStepWords;
  }
  SOFTPACK_HOST_DEVICE uint32_t columns() const {
    return (classes + kTileClasses - 1) / kTileClasses;
  }
  // Words from one codeword to the next in shared memory: odd, so that codewords begin in all
  // banks.
  SOFTPACK_HOST_DEVICE uint32_t pitch() const { return (width + 1) / 2 | 1; }
};

// Word `word` of a codeword, of the stage; a joined word has the last element of this stage's
// codeword and that of the next stage's. Words behind all others are the first, times zeros.
struct Word {
  uint32_t stage;
  uint32_t word;
  bool joined;
  bool dead;
};
SOFTPACK_HOST_DEVICE inline Word WordAt(const Shape& shape, uint32_t at) {
  const uint32_t whole = shape.width / 2;
  if (at < shape.whole_words()) return {at / whole, at % whole, false, false};
  if (at >= shape.words()) return {0, 0, false, true};
  const uint32_t stage = 2 * (at - shape.whole_words());
  return {stage, whole, stage + 1 < shape.stages, false};
}

// The latent element that element `at` of the product is, or -1 for none.
SOFTPACK_HOST_DEVICE inline int32_t LatentOf(const Shape& shape, uint32_t at) {
  const Word word = WordAt(shape, at / 2);
  if (word.dead) return -1;
  const uint32_t first = word.stage * shape.width + 2 * word.word;
  if (at % 2 == 0) return static_cast<int32_t>(first);
  if (word.joined) return static_cast<int32_t>(first + shape.width);
  return 2 * word.word + 1 < shape.width ? static_cast<int32_t>(first + 1) : -1;
}

// A word as the kernel looks it up: the stage's index in a label's row, in bytes, and above it the
// word's place in its codeword, in bytes, with 1 if it is joined.
SOFTPACK_HOST_DEVICE inline uint32_t Recipe(const Word& word) {
  return word.stage * 2 | (word.word * 4 + (word.joined ? 1u : 0u)) << 16;
}
constexpr uint32_t kMostStages = 32767;

// Recipes in shared memory: the two of a lane, 4 words apart, side by side.
SOFTPACK_HOST_DEVICE inline uint32_t RecipePosition(uint32_t word) {
  return word / kStepWords * kStepWords + word % 4 * 2 + word / 4 % 2;
}

// Row of B^T, in its tile, of a class: lane l % 4 of four holds columns 8 j + 2 (l % 4), + 1 of
// each j, and is given four adjacent classes in two successive j.
SOFTPACK_HOST_DEVICE inline uint32_t RowOfClass(uint32_t in_tile) {
  const uint32_t lane = in_tile % 16 / 4, element = in_tile % 4;
  return in_tile / 16 * 16 + element / 2 * 8 + 2 * lane + element % 2;
}
SOFTPACK_HOST_DEVICE inline uint32_t ClassOfRow(uint32_t row) {
  const uint32_t lane = row % 8 / 2, element = row / 8 % 2 * 2 + row % 2;
  return row / 16 * 16 + 4 * lane + element;
}

// Element (row of B^T, latent element) in a tile: rows of 128 bytes, 16 bytes of which lie where
// the swizzle of 128 bytes puts them.
SOFTPACK_HOST_DEVICE inline uint32_t TilePosition(uint32_t row, uint32_t element) {
  return row * kTileDepth + ((element / 8) ^ (row % 8)) * 8 + element % 8;
}

// Shared memory of a block, in bytes from its start. Tiles come first: they are aligned the most.
struct Plan {
  uint32_t slots;  // of tiles
  uint32_t codebook;
  uint32_t codebook_bytes;
  uint32_t codes;  // of two tiles of labels
  uint32_t codes_bytes;
  uint32_t recipes;
  uint32_t bias;
  uint32_t sums;  // [2, quantities, kMostColumns, kTileLabels]
  uint32_t quantities;
  uint32_t barriers;
  uint32_t bytes;
};
constexpr uint32_t kMostSlots = 6;
constexpr uint32_t kLeastSlots = 3;
constexpr uint32_t kQuantityFloats = kMostColumns * kTileLabels;
// Quantities of a row that blocks exchange at a time, for labels and for losses.
constexpr uint32_t kLabelQuantities = 1;
constexpr uint32_t kLossQuantities = 4;
// full and empty of each slot, full and empty of both tiles of codes, the codebook, both sums.
constexpr uint32_t kBarriers = 2 * kMostSlots + 4 + 1 + 2;

SOFTPACK_HOST_DEVICE inline uint32_t RoundUp16(uint32_t bytes) { return (bytes + 15) / 16 * 16; }

// With as many slots as fit `shared_bytes`; none if that is fewer than kLeastSlots.
inline Plan PlanOf(const Shape& shape, uint32_t quantities, uint64_t shared_bytes) {
  const uint64_t codebook = uint64_t{shape.levels} * shape.pitch() * 4;
  const uint64_t codes = uint64_t{kTileLabels} * shape.stages * 2;
  Plan plan = {};
  if (codebook + 2 * codes > shared_bytes) return plan;
  plan.quantities = quantities;
  plan.codebook_bytes = RoundUp16(static_cast<uint32_t>(codebook));
  plan.codes_bytes = RoundUp16(static_cast<uint32_t>(codes));
  // Two steps more than are multiplied are looked up.
  const uint32_t recipes = (shape.depth() * kTileWords + 2 * kStepWords) * 4;
  const uint32_t sums = 2 * quantities * kQuantityFloats * 4;
  const uint32_t besides = plan.codebook_bytes + 2 * plan.codes_bytes + recipes + kTileClasses * 4 +
                           sums + RoundUp16(kBarriers * 8);
  for (uint32_t slots = kMostSlots; slots >= kLeastSlots; --slots) {
    if (slots * kTileBytes + besides > shared_bytes) continue;
    plan.slots = slots;
    plan.codebook = slots * kTileBytes;
    plan.codes = plan.codebook + plan.codebook_bytes;
    plan.recipes = plan.codes + 2 * plan.codes_bytes;
    plan.bias = plan.recipes + recipes;
    plan.sums = plan.bias + kTileClasses * 4;
    plan.barriers = plan.sums + sums;
    plan.bytes = slots * kTileBytes + besides;
    return plan;
  }
  return plan;
}

}  // namespace hopper
}  // namespace softpack

#endif  // SOFTPACK_CUDA_BFLOAT_PACK_H_
