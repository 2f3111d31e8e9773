// The nearest codeword by cells must be the one that every codeword's float32 score gives, written
// out here one at a time: on vectors with and without structure, ties, near ties, and values that
// are not finite, huge or below the normal range.
#include "cells_test.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cpu/codebook_cells.h"

namespace softpack {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Data {
  uint64_t levels, width, count;
  std::vector<float> codebook, vectors;

  float* codeword(uint64_t j) { return codebook.data() + j % levels * width; }
  float* vector(uint64_t i) { return vectors.data() + i % count * width; }
};

struct Nearest {
  uint16_t index = 0;
  float margin = kInfinity;
};

Nearest BruteForce(const Data& data, const float* vector) {
  Nearest found;
  float best = kInfinity, second = kInfinity;
  bool numbers = true;
  for (uint64_t j = 0; j < data.levels; ++j) {
    const float* const codeword = data.codebook.data() + j * data.width;
    float norm = 0;
    for (uint64_t d = 0; d < data.width; ++d) norm = std::fma(codeword[d], codeword[d], norm);
    float score = 0.5f * norm;
    for (uint64_t d = 0; d < data.width; ++d) score = std::fma(-vector[d], codeword[d], score);
    numbers = numbers && !std::isnan(score);
    if (score < best) {
      second = best;
      best = score;
      found.index = static_cast<uint16_t>(j);
    } else if (score < second) {
      second = score;
    }
  }
  found.margin = numbers ? second - best : NAN;
  return found;
}

// Vectors in few directions, as segments of labels' latents are.
Data Structured(std::mt19937& random, uint64_t levels, uint64_t width, uint64_t count,
                uint64_t directions) {
  std::normal_distribution<float> normal;
  Data data{levels, width, count, {}, {}};
  std::vector<float> basis(directions * width);
  for (float& value : basis) value = normal(random);
  const auto fill = [&](std::vector<float>* rows, uint64_t number) {
    rows->assign(number * width, 0.0f);
    for (uint64_t i = 0; i < number; ++i) {
      const float size = std::exp(normal(random));
      for (uint64_t r = 0; r < directions; ++r) {
        const float along = normal(random) * size / static_cast<float>(1 + r * r);
        for (uint64_t d = 0; d < width; ++d) {
          (*rows)[i * width + d] += along * basis[r * width + d];
        }
      }
    }
  };
  fill(&data.codebook, levels);
  fill(&data.vectors, count);
  return data;
}

using Change = std::function<void(Data*, std::mt19937&)>;

void Scale(Data* data, float codebook, float vectors) {
  for (float& value : data->codebook) value *= codebook;
  for (float& value : data->vectors) value *= vectors;
}

// Every other vector halfway between two codewords, give or take a few units in the last place.
void NearTies(Data* data, std::mt19937& random) {
  for (uint64_t i = 0; i < data->count; i += 2) {
    const float* const a = data->codeword(random());
    const float* const b = data->codeword(random());
    for (uint64_t d = 0; d < data->width; ++d) {
      float middle = 0.5f * (a[d] + b[d]);
      for (uint64_t step = random() % 3; step > 0; --step) middle = std::nextafter(middle, b[d]);
      data->vector(i)[d] = middle;
    }
  }
}

void Copies(Data* data, std::mt19937& random) {
  for (uint64_t i = 0; i < data->levels / 2; ++i) {
    std::copy_n(data->codeword(random()), data->width, data->codeword(random()));
  }
  for (uint64_t i = 0; i < data->count; i += 2) {
    std::copy_n(data->codeword(random()), data->width, data->vector(i));
  }
}

// Small integers: scores are exact, and most of them tie.
void Integers(Data* data, std::mt19937& random) {
  for (float& value : data->codebook) value = static_cast<float>(random() % 3) - 1;
  for (float& value : data->vectors) value = static_cast<float>(random() % 5) / 2 - 1;
}

// Codewords that differ in their last bits only.
void Crowded(Data* data, std::mt19937& random) {
  for (uint64_t j = 1; j < data->levels; ++j) {
    for (uint64_t d = 0; d < data->width; ++d) {
      float value = data->codebook[d];
      for (uint64_t step = random() % 4; step > 0; --step) value = std::nextafter(value, kInfinity);
      data->codeword(j)[d] = value;
    }
  }
  for (uint64_t i = 0; i < data->count; i += 2) {
    std::copy_n(data->codeword(random()), data->width, data->vector(i));
  }
}

void Sprinkle(std::vector<float>* values, const std::vector<float>& specials,
              std::mt19937& random) {
  for (uint64_t i = 0; i < values->size() / 50 + 1; ++i) {
    (*values)[random() % values->size()] = specials[random() % specials.size()];
  }
}

struct Case {
  const char* name;
  Change change;
};

const std::vector<float> kSpecials = {NAN,    kInfinity, -kInfinity, 3e38f, -3e38f, 1e20f,
                                      1e-20f, 1e-40f,    -1e-45f,    0.0f,  -0.0f};

const Case kCases[] = {
    {"as it is", [](Data*, std::mt19937&) {}},
    {"near ties", NearTies},
    {"copies", Copies},
    {"integers", Integers},
    {"crowded", Crowded},
    {"all codewords the same",
     [](Data* data, std::mt19937&) {
       for (uint64_t j = 0; j < data->levels; ++j) {
         std::copy_n(data->codebook.data(), data->width, data->codeword(j));
       }
     }},
    {"far from the origin",
     [](Data* data, std::mt19937&) {
       for (float& value : data->codebook) value += 1000;
       for (float& value : data->vectors) value += 1000;
     }},
    {"vectors farther than codewords", [](Data* data, std::mt19937&) { Scale(data, 1, 1e4f); }},
    {"codewords farther than vectors", [](Data* data, std::mt19937&) { Scale(data, 1e4f, 1); }},
    {"zero vectors", [](Data* data, std::mt19937&) { Scale(data, 1, 0); }},
    {"huge", [](Data* data, std::mt19937&) { Scale(data, 1e15f, 1e15f); }},
    {"at the limit of squares", [](Data* data, std::mt19937&) { Scale(data, 1e11f, 1e11f); }},
    {"tiny", [](Data* data, std::mt19937&) { Scale(data, 1e-21f, 1e-21f); }},
    {"below the normal range", [](Data* data, std::mt19937&) { Scale(data, 1e-40f, 1e-40f); }},
    {"tiny codewords", [](Data* data, std::mt19937&) { Scale(data, 1e-30f, 1); }},
    {"special vectors",
     [](Data* data, std::mt19937& random) { Sprinkle(&data->vectors, kSpecials, random); }},
    {"special codewords",
     [](Data* data, std::mt19937& random) { Sprinkle(&data->codebook, kSpecials, random); }},
    {"special but finite codewords",
     [](Data* data, std::mt19937& random) {
       Sprinkle(&data->codebook, {1e-45f, -0.0f, 0.0f, 1e-30f, 100.0f}, random);
     }},
};

// Returns the cells that were looked into, or UINT64_MAX if a result is wrong.
uint64_t Check(const Isa& isa, const Data& data, bool margins) {
  CodebookCells cells;
  CellScratch scratch;
  // Buffers of exactly the right size: a sanitizer sees any byte read or written beyond.
  std::vector<uint16_t> found(data.count, 0xaaaa);
  std::vector<float> found_margins(data.count, NAN), slack(data.count);
  for (uint64_t i = 0; i < data.count; ++i) slack[i] = static_cast<float>(i % 7) * 0.01f;
  if (!cells.Create(isa, data.codebook.data(), data.levels, data.width)) return UINT64_MAX;
  const int status =
      cells.Find({data.vectors.data(), data.count, found.data(), margins ? slack.data() : nullptr,
                  margins ? found_margins.data() : nullptr},
                 &scratch);
  if (status != kSoftpackOk) return UINT64_MAX;
  for (uint64_t i = 0; i < data.count; ++i) {
    const Nearest expected = BruteForce(data, data.vectors.data() + i * data.width);
    if (found[i] != expected.index) return UINT64_MAX;
    // Margins are asked for only where all scores are numbers.
    if (!margins || std::isnan(expected.margin)) continue;
    const bool right = expected.margin > slack[i] ? found_margins[i] > slack[i]
                                                  : found_margins[i] == expected.margin;
    if (!right) return UINT64_MAX;
  }
  return scratch.looked_into;
}

}  // namespace

int TestCells(const Isa& isa) {
  int failures = 0;
  const auto expect = [&](bool holds, const std::string& what) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "failed: cells of %s, %s\n", isa.name, what.c_str());
  };
  struct Shape {
    uint64_t levels, width, count, directions;
  };
  std::mt19937 random(23);
  for (const Shape& shape :
       {Shape{64, 1, 65, 1}, Shape{65, 100, 33, 4}, Shape{127, 3, 400, 2}, Shape{128, 50, 50, 9},
        Shape{300, 7, 1, 3}, Shape{512, 25, 47, 2}, Shape{999, 5, 100, 5}}) {
    for (const Case& test : kCases) {
      for (const bool margins : {false, true}) {
        Data data = Structured(random, shape.levels, shape.width, shape.count, shape.directions);
        test.change(&data, random);
        expect(Check(isa, data, margins) != UINT64_MAX,
               std::string(test.name) + ", levels " + std::to_string(shape.levels) + ", width " +
                   std::to_string(shape.width) + (margins ? ", margins" : ""));
      }
    }
  }
  // Most cells are out of reach of vectors in few directions, and the search notices where not.
  const Data few = Structured(random, 1024, 20, 800, 2);
  const uint64_t looked_into = Check(isa, few, false);
  expect(looked_into <= few.count * few.levels / 16 / 4, "cells are left out");
  const Data many = Structured(random, 1024, 20, 800, 20);
  expect(Check(isa, many, false) != UINT64_MAX, "many directions");
  return failures;
}

}  // namespace softpack
