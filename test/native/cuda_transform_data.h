// Labels of codec `transform`, random but for some that are extreme, and their row of blocks.
#ifndef SOFTPACK_TESTING_CUDA_TRANSFORM_DATA_H_
#define SOFTPACK_TESTING_CUDA_TRANSFORM_DATA_H_

#include <cmath>
#include <string>
#include <vector>

#include "cases.h"
#include "core/rans.h"
#include "cuda_harness.h"

namespace softpack {
namespace testing {

struct TransformCase {
  const char* name;
  uint64_t classes, components, labels, labels_per_block;
  uint32_t trellis;
  uint64_t base_rows;
  uint32_t lanes;  // 0: the encoder's choice
  float spread;    // of indices; tables list up to 127
};

// Frequencies of three tables: all values alike, small values likely, and none but those up to 3,
// so that all others escape.
inline std::vector<uint16_t> Frequencies() {
  std::vector<uint16_t> all(3 * kRansSymbols);
  for (uint32_t s = 0; s < kRansSymbols; ++s) {
    all[s] = 16;
    all[kRansSymbols + s] = 1;
    if (s >= 125 && s <= 131) all[2 * kRansSymbols + s] = 512;
  }
  all[kRansSymbols + 128] = kRansSlots - 255;
  all[2 * kRansSymbols] = kRansSlots - 7 * 512;
  return all;
}

inline std::vector<uint32_t> Entries(const std::vector<uint16_t>& frequencies) {
  std::vector<uint32_t> entries;
  for (uint32_t i = 0; i < frequencies.size(); ++i) {
    const uint32_t value = (i % kRansSymbols + 128) << 24;  // minus 128, as int8
    for (uint32_t slot = 0; slot < frequencies[i]; ++slot) {
      entries.push_back((frequencies[i] - 1u) | slot << 12 | value);
    }
  }
  return entries;
}

inline void Append32(std::vector<uint8_t>& bytes, uint64_t value) {
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
}

struct TransformData {
  std::vector<uint16_t> frequencies = Frequencies();
  std::vector<uint32_t> entries = Entries(frequencies);
  std::vector<uint16_t> row_tables;
  std::vector<int8_t> shifts;
  std::vector<float> basis, bias, bases, weights;
  std::vector<uint32_t> list, pairs;
  std::vector<std::vector<int16_t>> values;  // of each block, [components, labels]
  std::vector<uint8_t> row;
  SoftpackTransformSpec spec = {};
  uint64_t labels;

  TransformData(const TransformCase& shape, uint32_t seed) : labels(shape.labels) {
    Random random(seed);
    const uint64_t components = shape.components;
    for (uint64_t i = 0; i < components * (shape.trellis == 1 ? 1 : 2); ++i) {
      row_tables.push_back(static_cast<uint16_t>(random.Below(3)));
    }
    for (uint64_t j = 0; j < components; ++j) {
      shifts.push_back(static_cast<int8_t>(random.Below(256)));
    }
    basis = random.Floats(components * shape.classes);
    for (float& value : basis) value *= 0.2f;
    bias = random.Floats(shape.classes);
    bases = random.Floats(shape.base_rows * components);
    for (uint64_t i = 0; i < labels; ++i) {
      list.push_back(random.Below(labels));
      for (int k = 0; shape.base_rows > 0 && k < 2; ++k)
        pairs.push_back(random.Below(shape.base_rows));
      weights.push_back(static_cast<float>(random.Below(1001)) / 1000);
    }
    spec.entries = entries.data();
    spec.row_tables = row_tables.data();
    spec.shifts = shifts.data();
    spec.basis = basis.data();
    spec.bias = bias.data();
    if (shape.base_rows > 0) spec.bases = bases.data();
    spec.tables = 3;
    spec.base_rows = shape.base_rows;
    spec.components = components;
    spec.classes = shape.classes;
    spec.labels_per_block = shape.labels_per_block;
    spec.unit = 0.0371;
    spec.trellis = shape.trellis;
    Encode(shape, random);
  }

  uint64_t blocks() const { return values.size(); }
  RansShape ShapeOf(uint64_t columns) const {
    return {row_tables.data(), 3, spec.components, columns, spec.trellis};
  }

 private:
  void Encode(const TransformCase& shape, Random& random) {
    std::vector<std::vector<uint8_t>> blocks;
    for (uint64_t first = 0; first < labels; first += spec.labels_per_block) {
      const uint64_t count = std::min(spec.labels_per_block, labels - first);
      std::vector<int16_t> own;
      for (const float value : random.Floats(spec.components * count)) {
        own.push_back(static_cast<int16_t>(std::lrint(value * shape.spread)));
      }
      if (own.size() > 3) own[1] = INT16_MAX, own[2] = INT16_MIN, own[3] = -128;
      std::vector<uint8_t> stream(RansCapacity(own.size()));
      RansEncodeArgs args = {
          own.data(), frequencies.data(), ShapeOf(count), shape.lanes, stream.data(), stream.size(),
          0};
      Expect(EncodeRans(&args) == kSoftpackOk, std::string(shape.name) + " is encoded");
      std::vector<uint8_t> block = {static_cast<uint8_t>(count), static_cast<uint8_t>(count >> 8)};
      block.insert(block.end(), stream.begin(), stream.begin() + static_cast<int64_t>(args.length));
      blocks.push_back(block);
      values.push_back(own);
    }
    Append32(row, blocks.size());
    uint64_t end = 0;
    Append32(row, end);
    for (const auto& block : blocks) Append32(row, end += block.size());
    for (const auto& block : blocks) row.insert(row.end(), block.begin(), block.end());
  }
};

// Of an unpacked record (SoftpackTransformRow) at `at`.
constexpr uint64_t kRecordHead = 16;
inline uint32_t LabelsOf(const std::vector<uint8_t>& records, uint64_t at) {
  return ReadLittle32(records.data() + at);
}

// Whether the record at `at` holds these values.
inline bool Holds(const std::vector<uint8_t>& records, uint64_t at, const TransformData& data,
                  const std::vector<int16_t>& values) {
  const uint64_t components = data.spec.components, columns = values.size() / components;
  if (LabelsOf(records, at) != columns) return false;
  for (uint64_t j = 0; j < components; ++j) {
    const uint64_t from = at + kRecordHead + 2 * j * data.spec.labels_per_block;
    if (std::memcmp(records.data() + from, values.data() + j * columns, 2 * columns) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_TRANSFORM_DATA_H_
