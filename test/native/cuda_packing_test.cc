// Tests of cuda/bfloat_pack.h by brute force.
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/bfloat_pack.h"
#include "cuda_hopper_test.h"

namespace softpack {
namespace {

using namespace hopper;

int failures = 0;

void Expect(bool holds, const std::string& what) {
  if (holds) return;
  if (++failures <= 20) std::fprintf(stderr, "failed: %s\n", what.c_str());
}

// Every latent element is multiplied once, in words of one codeword or of the last elements of two.
void TestWords() {
  for (uint32_t stages = 1; stages < 40; ++stages) {
    for (uint32_t width = 1; width < 30; ++width) {
      const Shape shape = {stages, width, 7, 300};
      std::vector<int> met(stages * width);
      for (uint32_t at = 0; at < shape.depth() * kTileDepth; ++at) {
        const Word word = WordAt(shape, at / 2);
        const int32_t element = LatentOf(shape, at);
        const uint32_t recipe = Recipe(word);
        Expect((recipe & 0xffff) / 2 == word.stage && recipe >> 18 == word.word, "a recipe");
        Expect((recipe >> 16 & 1) == (word.joined ? 1 : 0), "of a joined word");
        Expect(at / 16 >= shape.whole_steps() || !word.joined, "whole steps join nothing");
        if (element < 0) continue;
        ++met[element];
        // What the kernel looks up: half `at % 2` of the word, or the low half of the next stage's.
        const uint32_t stage = word.stage + (word.joined ? at % 2 : 0);
        const uint32_t in_word = word.joined ? 0 : at % 2;
        Expect(stage * width + 2 * word.word + in_word == static_cast<uint32_t>(element) &&
                   2 * word.word + in_word < width,
               "a word's element");
      }
      for (const int times : met) Expect(times == 1, "a latent element once");
      Expect(shape.pitch() % 2 == 1 && 2 * shape.pitch() >= width, "an odd pitch");
    }
  }
}

void TestTilePlaces() {
  std::vector<int> rows(kTileClasses), places(kTileElements);
  for (uint32_t column = 0; column < kTileClasses; ++column) {
    const uint32_t row = RowOfClass(column);
    ++rows[row];
    Expect(ClassOfRow(row) == column, "a class's row and back");
    // Sum 4 j + i % 2 of lane l has column 8 j + 2 (l % 4) + i % 2.
    Expect(row % 8 / 2 == column % 16 / 4, "the lane of four adjacent classes");
    for (uint32_t element = 0; element < kTileDepth; ++element) {
      const uint32_t place = TilePosition(row, element);
      ++places[place];
      // Bits 4 to 6 of the address in bytes, exchanged with bits 7 to 9.
      const uint32_t linear = (row * kTileDepth + element) * 2;
      Expect(2 * place == (linear ^ (linear >> 3 & 0x70)), "the swizzle of 128 bytes");
    }
  }
  for (const int times : rows) Expect(times == 1, "a row once");
  for (const int times : places) Expect(times == 1, "a place once");
  std::vector<int> recipes(kTileWords);
  for (uint32_t word = 0; word < kTileWords; ++word) ++recipes[RecipePosition(word)];
  for (const int times : recipes) Expect(times == 1, "a recipe once");
}

// What a block keeps in shared memory does not overlap.
void TestPlans() {
  struct Setting {
    Shape shape;
    uint32_t slots, loss_slots;
  };
  constexpr uint64_t kShared = 227 << 10;
  for (const Setting& one :
       {Setting{{159, 5, 1024, 1000}, 4, 3}, Setting{{66, 15, 2048, 1000}, 3, 3},
        Setting{{50, 20, 1024, 1000}, 4, 4}, Setting{{40, 25, 512, 1000}, 5, 5}}) {
    for (const uint32_t quantities : {kLabelQuantities, kLossQuantities}) {
      const Plan plan = PlanOf(one.shape, quantities, kShared);
      Expect(plan.slots == (quantities == kLabelQuantities ? one.slots : one.loss_slots),
             "slots of a setting: " + std::to_string(plan.slots));
      Expect(plan.codebook == plan.slots * kTileBytes &&
                 plan.codes == plan.codebook + plan.codebook_bytes &&
                 plan.recipes == plan.codes + 2 * plan.codes_bytes && plan.recipes < plan.bias &&
                 plan.bias + kTileClasses * 4 == plan.sums &&
                 plan.sums + 2 * quantities * kQuantityFloats * 4 == plan.barriers &&
                 plan.barriers + kBarriers * 8 <= plan.bytes && plan.bytes <= kShared,
             "parts side by side");
      for (const uint32_t part : {plan.codebook, plan.codes, plan.codes_bytes, plan.recipes,
                                  plan.bias, plan.sums, plan.barriers}) {
        Expect(part % 16 == 0, "aligned parts");
      }
    }
  }
  Expect(PlanOf({2, 100, 2000, 10}, kLabelQuantities, kShared).slots == 0,
         "a codebook that does not fit");
}

}  // namespace

int TestPacking() {
  TestWords();
  TestTilePlaces();
  TestPlans();
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace softpack
