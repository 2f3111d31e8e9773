// Host-device headers of the CUDA backend on the CPU, against brute force: positions of elements in
// tables, tiles and fragments, sums of packed pairs, unpacking at any bit, and ties of nearest.
#include "cuda_layout_test.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/bits.h"
#include "cuda/element.h"
#include "cuda/gemm_tile.h"
#include "cuda/layout.h"
#include "cuda/nearest.h"
#include "cuda/slices.h"
#include "cuda/table_clusters.h"
#include "cuda/tensor_core.h"

namespace softpack {
namespace {

int failures = 0;

void Expect(bool holds, const std::string& what) {
  if (holds) return;
  if (++failures <= 20) std::fprintf(stderr, "failed: %s\n", what.c_str());
}

template <uint32_t kVector>
void TestLanes() {
  for (uint64_t column = 0; column < 5 * 32 * kVector; ++column) {
    const uint64_t position = LanePosition<kVector>(column);
    Expect(LaneColumn<kVector>(position) == column, "a column comes back from its position");
    Expect(position / kVector % 32 == column % 32, "a column stays with its lane");
    Expect(position / (32 * kVector) == column / (32 * kVector), "and in its group");
  }
}

void TestPairs(std::mt19937& random) {
  for (int round = 0; round < 20000; ++round) {
    const int terms = 1 + static_cast<int>(random() % 300);
    // No sum on the way may leave 16 bits; parts of it may cross the middle of a word at will.
    const int largest = 32767 / terms;
    uint32_t word = 0;
    int32_t low = 0, high = 0;
    for (int i = 0; i < terms; ++i) {
      const auto part = [&] {
        return static_cast<int16_t>(static_cast<int>(random() % (2 * largest + 1)) - largest);
      };
      const int16_t a = part(), b = part();
      word += PackPair(a, b);
      low += a;
      high += b;
    }
    Expect(LowSum(word) == low && HighSum(word) == high, "both sums of packed pairs are exact");
  }
  for (const int16_t a : {-32768, -1, 0, 1, 32767}) {
    for (const int16_t b : {-32768, -1, 0, 1, 32767}) {
      Expect(LowSum(PackPair(a, b)) == a && HighSum(PackPair(a, b)) == b, "extremes of a pair");
    }
  }
}

void TestSlices(std::mt19937& random) {
  for (uint32_t units = 4; units <= 16; units *= 2) {
    const SliceShape shape = ShapeOfSlices(units, 3, 5);
    std::set<uint32_t> sums, labels;
    for (uint32_t slice = 0; slice < shape.slices; ++slice) {
      for (uint32_t unit = 0; unit < units; ++unit) {
        for (uint32_t e = 0; e < kUnitColumns; ++e) {
          const uint32_t column = SumColumn(units, slice, unit, e);
          sums.insert(column);
          labels.insert(LabelColumn(units, slice, unit, e));
          // A partial sum is one unit's elements in order, then the same of `units / 2` further on.
          const uint32_t first = SumColumn(units, slice, unit % (units / 2), 0);
          const uint32_t term = unit / (units / 2) * kUnitColumns + e;
          Expect(first < kSliceSlots && column == first + term * kSliceSlots,
                 "terms of a partial sum are kSliceSlots columns apart, ascending");
        }
      }
    }
    Expect(sums.size() == kSliceClasses && *sums.rbegin() == kSliceClasses - 1,
           "slices for sums hold every column once");
    Expect(labels.size() == kSliceClasses && *labels.rbegin() == kSliceClasses - 1,
           "slices for labels hold every column once");
  }
  for (int round = 0; round < 2000; ++round) {
    const uint64_t stages = 1 + random() % 40, levels = 1 + random() % 300;
    const uint64_t limit = 1024 * (16 + random() % 240);
    const SliceShape shape = ChooseSlices(1 + random() % 1100, stages, levels, limit);
    if (shape.units == 0) continue;
    Expect(shape.shared_bytes <= limit, "what is chosen fits");
    Expect(2 * shape.pairs * shape.together >= stages, "every stage has a place");
    std::set<uint32_t> rows;
    for (uint64_t stage = 0; stage < 2 * shape.pairs * shape.together; ++stage) {
      for (uint64_t level = 0; level < levels; ++level) {
        const uint32_t row = SliceRow(shape.together, levels, stage, level);
        rows.insert(row);
        Expect(row % shape.together == stage % shape.together, "stages side by side take turns");
      }
    }
    Expect(rows.size() == shape.rows && *rows.rbegin() == shape.rows - 1,
           "rows of a slice lie without gaps");
  }
  const auto units = [](uint64_t classes, uint64_t stages, uint64_t levels, uint64_t limit) {
    return ChooseSlices(classes, stages, levels, limit << 10).units;
  };
  Expect(units(1000, 10, 64, 227) == 16 && units(1000, 10, 64, 163) == 16, "(100, 64)");
  Expect(units(1000, 20, 128, 227) == 4, "(50, 128)");
  Expect(units(1000, 40, 512, 227) == 0 && units(1025, 10, 64, 227) == 0, "too large");
}

// Tables that the blocks of a cluster hold together.
void TestClusters(std::mt19937& random) {
  using namespace clusters;
  for (const uint32_t blocks : {kFewBlocks, kManyBlocks}) {
    std::set<uint32_t> classes;
    const uint32_t each = kClasses / blocks / 32;  // of a lane
    for (uint32_t block = 0; block < blocks; ++block) {
      for (uint32_t element = 0; element < RowUnits(blocks) * 8; ++element) {
        const uint32_t column = ClassOf(blocks, block, element);
        classes.insert(column);
        Expect(column * blocks / kClasses == block, "a block has adjacent classes");
        Expect(column % 32 == element / each && column / 32 % each == element % each,
               "classes of a lane lie side by side, ascending");
      }
    }
    Expect(classes.size() == kClasses && *classes.rbegin() == kClasses - 1, "every class once");
  }
  for (int round = 0; round < 2000; ++round) {
    const uint64_t stages = 1 + random() % 40, levels = 1 + random() % 300;
    const uint64_t limit = 1024 * (48 + random() % 200);
    const Plan plan = PlanOf(stages, levels, limit);
    if (plan.blocks == 0) continue;
    Expect(plan.bytes <= limit, "what is planned fits");
    Expect(plan.pass_stages * plan.passes >= stages && plan.pass_stages <= stages,
           "all stages have a pass");
    Expect(
        plan.sums == plan.pass_stages * levels * kLabelBytes / plan.blocks && plan.sums < 1 << 20,
        "rows of a pass, no more than a barrier can count");
    Expect(plan.indices == plan.sums + 24 * kLabelBytes &&
               plan.indices_bytes == stages * plan.blocks * 2 &&
               plan.barriers == plan.indices + 24 * plan.indices_bytes &&
               plan.bytes == plan.barriers + 25 * 8,
           "parts side by side");
  }
  const auto way = [](uint64_t stages, uint64_t levels) {
    const Plan plan = PlanOf(stages, levels, 227 << 10);
    return std::to_string(plan.blocks) + " " + std::to_string(plan.passes);
  };
  Expect(way(10, 64) == "8 1", "(100, 64)");
  Expect(way(20, 64) == "16 1" && way(1, 1) == "8 1", "tables that fit");
  Expect(way(20, 128) == "16 2", "(50, 128)");
  Expect(way(40, 512) == "0 0" && way(uint64_t{1} << 40, 1) == "0 0", "too large");
}

void TestTiles() {
  for (int part = 0, next = 0; part < 16; ++part) {
    std::set<int> elements;
    for (int i = 0; i < 8; ++i) elements.insert(TileElement(part, i));
    Expect(elements.size() == 8 && *elements.begin() == part * 4, "a thread has eight elements");
    next += 8;
    Expect(next <= kTile && *elements.rbegin() < kTile, "of the tile");
  }
  for (const bool contiguous : {false, true}) {
    std::set<int> places;
    for (int thread = 0; thread < kTileThreads; ++thread) {
      for (int i = 0; i < 4; ++i) {
        const SlicePlace place = PlaceInSlice(contiguous, thread, i);
        Expect(place.inner < kTileDepth && place.outer < kTile, "a place lies in the slice");
        places.insert(place.inner * kTile + place.outer);
      }
    }
    Expect(places.size() == kTileDepth * kTile, "threads read every element of a slice once");
  }
}

void TestFragments() {
  std::set<int> a, b, sums;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const FragmentPlace left = PlaceInA(lane, i), sum = PlaceInSums(lane, i);
      a.insert(left.row * 16 + left.column);
      sums.insert(sum.row * 8 + sum.column);
      if (i >= 2) continue;
      const FragmentPlace right = PlaceInB(lane, i);
      b.insert(right.row * 8 + right.column);
    }
  }
  Expect(a.size() == 128 && *a.rbegin() == 15 * 16 + 14, "words of A: every second column, once");
  Expect(b.size() == 64 && *b.rbegin() == 14 * 8 + 7, "words of B: every second row, once");
  Expect(sums.size() == 128 && *sums.rbegin() == 127, "sums: each once");
}

// A lane receives the words of its fragments from the rows that lanes name.
void TestMatrices() {
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < 4; ++m) {
      const FragmentPlace row_a = RowOfA(8 * m + lane / 4), row_b = RowOfB(8 * m + lane / 4);
      const int word = lane % 4 * 2;
      const FragmentPlace a = PlaceInA(lane, m), b = PlaceInB(lane, m % 2);
      Expect(row_a.row == a.row && row_a.column + word == a.column, "words of A by matrices");
      Expect(row_b.row == b.column + m / 2 * 8 && row_b.column + word == b.row,
             "words of B by matrices, two columns of fragments");
    }
  }
}

// Elements that the hardware rounds, NaN and infinities among them, are those of the CPU.
void TestElements(std::mt19937& random) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const int exponent = static_cast<int>(half >> 10 & 31), fraction = half & 1023;
    if (exponent == 31) continue;
    const double size =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    const float value = OfHalf(static_cast<uint16_t>(half));
    Expect(value == (half & 0x8000 ? -size : size), "a half as float32");
    Expect(FloatToHalf(value) == half, "and back");
  }
  Expect(OfHalf(0x7c00) == INFINITY && OfHalf(0xfc00) == -INFINITY && std::isnan(OfHalf(0x7e01)),
         "halves that are no numbers");
  const auto any = [&] {
    uint32_t bits = random();
    if (random() % 4 == 0) bits |= 0x7f800000u;
    return scalar::FloatOf(bits);
  };
  for (int round = 0; round < 50000; ++round) {
    const float low = any(), high = any();
    Expect(HalfElement::Pair(low, high) ==
               (FloatToHalf(low) | static_cast<uint32_t>(FloatToHalf(high)) << 16),
           "two halves");
    Expect(
        BfloatElement::Pair(low, high) ==
            (scalar::FloatToBfloat(low) | static_cast<uint32_t>(scalar::FloatToBfloat(high)) << 16),
        "two bfloat16");
    uint16_t stored[2];
    HalfElement::Store(stored, 0, low);
    BfloatElement::Store(stored, 1, high);
    Expect(stored[0] == FloatToHalf(low) && stored[1] == scalar::FloatToBfloat(high),
           "one of each");
  }
}

// Bit by bit.
void TestUnpacking(std::mt19937& random) {
  for (int round = 0; round < 20000; ++round) {
    const uint32_t bits = 1 + random() % 16;
    std::vector<uint8_t> bytes(1 + random() % 12);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    if (bytes.size() * 8 < bits) continue;
    const uint64_t bit = random() % (bytes.size() * 8 - bits + 1);
    uint32_t expected = 0;
    for (uint32_t i = 0; i < bits; ++i) {
      expected |= static_cast<uint32_t>(bytes[(bit + i) / 8] >> (bit + i) % 8 & 1) << i;
    }
    Expect(ReadIndex(bytes.data(), bit, bits) == expected, "an index at any bit");
  }
}

// Whatever the order in which candidates meet, the first of the nearest remains.
void TestTies(std::mt19937& random) {
  for (int round = 0; round < 5000; ++round) {
    std::vector<Candidate> candidates;
    for (uint32_t i = 0; i < 1 + random() % 20; ++i) {
      candidates.push_back({static_cast<float>(random() % 4), i});
    }
    Candidate expected = candidates[0];
    for (const Candidate& one : candidates) {
      if (one.score < expected.score) expected = one;
    }
    std::shuffle(candidates.begin(), candidates.end(), random);
    Candidate best = candidates[0];
    for (const Candidate& one : candidates) {
      if (IsBetter(one, best)) best = one;
    }
    Expect(best.index == expected.index, "the lowest index of equal scores");
  }
}

}  // namespace

int TestLayouts() {
  std::mt19937 random(1);
  TestLanes<kFloatVector>();
  TestLanes<kFixedVector>();
  TestPairs(random);
  TestSlices(random);
  TestClusters(random);
  TestTiles();
  TestFragments();
  TestMatrices();
  TestElements(random);
  TestUnpacking(random);
  TestTies(random);
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace softpack
