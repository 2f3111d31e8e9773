#include "cuda_encode_versions_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/bits.h"
#include "core/scalar_math.h"
#include "cuda_encode_data.h"
#include "cuda_harness.h"
#include "cuda_versions.h"

namespace softpack {
namespace testing {
namespace {

// Tiles are 128 labels, 128 columns and 32 classes; lists of segments 32 labels and 32 columns. The
// search is by tensor cores from 256 codewords of up to 32 elements on.
constexpr EncodeCase kBrief[] = {
    {1, 1, 1, 8, 2},
    {33, 70, 9, 15, 300},
    {131, 33, 3, 43, 64},
};
constexpr EncodeCase kAll[] = {
    {0, 5, 1, 8, 4},     {7, 1001, 2, 33, 256},  {129, 127, 8, 20, 1024}, {128, 128, 16, 8, 256},
    {257, 64, 17, 9, 5}, {3, 999, 2, 100, 64},   {40, 1000, 5, 25, 512},  {5, 31, 1, 129, 1},
    {19, 32, 2, 64, 31}, {300, 10, 30, 8, 2048},
};

class Encoder {
 public:
  Encoder(const SoftpackEncoderSpec& spec, const char* version) {
    const WishedVersion wished(kEncodeVersion, version);
    const int status = cuda->encoder_create(&spec, &encoder_);
    Expect(status == kSoftpackOk, "an encoder of a version " + Reason(status));
  }
  ~Encoder() { cuda->encoder_destroy(encoder_); }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  uint64_t bytes() const { return encoder_ == nullptr ? 0 : cuda->encoder_bytes(encoder_); }
  std::vector<uint8_t> Encode(const EncodeData& data, bool on_device) const {
    if (encoder_ == nullptr) return {};
    Array<float> labels(data.labels, on_device);
    Array<uint8_t> out(Poisoned<uint8_t>(data.code_bytes()), on_device);
    const SoftpackEncodeArgs args{labels.get(), out.get(), data.shape.count, 1};
    const int status = cuda->encode(encoder_, &args);
    Expect(status == kSoftpackOk, "encoding " + Reason(status));
    return out.Read();
  }

 private:
  SoftpackEncoder* encoder_ = nullptr;
};

// Version 2 keeps the projection's parts besides what version 1 keeps.
bool IsUsed(const SoftpackEncoderSpec& spec) {
  return Encoder(spec, "2").bytes() > Encoder(spec, "1").bytes();
}

std::vector<uint8_t> CpuCodes(const EncodeData& data) {
  const SoftpackEncoderSpec spec = data.spec();
  SoftpackEncoder* encoder = nullptr;
  auto codes = Poisoned<uint8_t>(data.code_bytes());
  Expect(cpu->encoder_create(&spec, &encoder) == kSoftpackOk, "an encoder of the CPU");
  const SoftpackEncodeArgs args{data.labels.data(), codes.data(), data.shape.count, 1};
  cpu->encode(encoder, &args);
  cpu->encoder_destroy(encoder);
  return codes;
}

void CheckCodes(const std::string& name, const EncodeData& data) {
  const Encoder two(data.spec(), "2");
  const auto expected = CpuCodes(data);
  Expect(Same(two.Encode(data, true), expected), name + " gives the CPU's codes");
  if (brief) return;
  Expect(Same(two.Encode(data, false), expected), name + " gives the CPU's codes from the host");
}

std::string NameOf(const EncodeCase& shape) {
  return "version 2 of encoding, " + std::to_string(shape.count) + " labels of " +
         std::to_string(shape.classes) + " classes, " + std::to_string(shape.segments) + " x " +
         std::to_string(shape.width) + " among " + std::to_string(shape.levels);
}

// Ordinary labels; and some rows that are none, with an encoder that is none either.
void CheckCase(const EncodeCase& shape, uint32_t seed) {
  EncodeData data(shape, seed);
  const std::string name = NameOf(shape);
  Expect(IsUsed(data.spec()), name + " is used");
  CheckCodes(name, data);

  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float values[] = {NAN, kInfinity, -kInfinity, 3.3e38f, -1e30f, 1e-42f, 1e-25f, 0.0f, 1.0f};
  for (uint64_t i = 0; i < shape.count; ++i) {
    float* const label = data.labels.data() + i * shape.classes;
    const float value = values[i / 2 % std::size(values)];
    // All of it, or one place; every other of those in zeros, as labels of one class are.
    if (i % 4 == 1) std::fill_n(label, shape.classes, value);
    if (i % 8 == 3) std::fill_n(label, shape.classes, 0.0f);
    if (i % 4 == 3) label[i % shape.classes] = value;
  }
  CheckCodes(name + ", unusual labels", data);
  const uint64_t latent = shape.segments * shape.width;
  for (uint64_t i = 0; i < data.projection.size(); i += latent + 7) {
    data.projection[i] = values[i % std::size(values)];
  }
  CheckCodes(name + ", unusual labels and encoder", data);
  for (uint64_t i = 0; i < data.codebook.size(); i += 3 * shape.width + 1) {
    data.codebook[i] = values[i % std::size(values)];
  }
  CheckCodes(name + ", and codebook", data);
}

float Rounded(float value) {
  return scalar::FloatOf(static_cast<uint32_t>(scalar::FloatToBfloat(value)) << 16);
}

struct Pair {
  uint64_t levels, one, other;
};
// Apart in the search by float32; in one block of eight and in two of the search by tensor cores.
constexpr Pair kPairs[] = {{2, 0, 1}, {256, 254, 255}, {256, 85, 255}};

// Float32 chains that round in one direction, almost as much as their bound allows: after the first
// class each term is a little more than half of what the sum's last place holds, and is rounded up
// to all of it. Labels' sums lie between two codewords such that the exact sum is nearer to the
// one, and the CPU's to the other.
void CheckRoundedChains(const Pair& pair) {
  constexpr uint64_t kCount = 128, kClasses = 1000, kWidth = 8;
  EncodeData data({kCount, kClasses, 2, kWidth, pair.levels}, 21);
  const float centre = 1.0f / kClasses;
  std::fill(data.labels.begin(), data.labels.end(), centre);
  std::fill(data.projection.begin(), data.projection.end(), 0.0f);
  const uint64_t latent = 2 * kWidth;
  const float term = std::ldexp(1.02f, -24) / centre;
  float* const projection = data.projection.data();
  for (uint64_t k = 0; k < kClasses; ++k) {
    // The second segment's chain is rounded down instead.
    projection[k * latent] = k == 0 ? 1.0f : Rounded(term);
    projection[k * latent + kWidth] = k == 0 ? 1.0f : Rounded(0.97f * term / 1.02f);
  }
  // What the exact sums have besides the first class: the CPU's have twice as much, and nothing.
  const double tail = (kClasses - 1.0) * centre * projection[latent];
  const double low_tail = (kClasses - 1.0) * centre * projection[latent + kWidth];
  const float between = static_cast<float>(1.0 + centre + tail);
  for (uint64_t i = 0; i < kCount; ++i) {
    data.labels[i * kClasses] = 1.0f + centre + (static_cast<float>(i) - 64.0f) * 0x1p-20f;
  }
  for (float& value : data.codebook) value = std::copysign(20.0f + value, value);
  for (const uint64_t level : {pair.one, pair.other}) {
    float* const codeword = data.codebook.data() + level * kWidth;
    std::fill_n(codeword, kWidth, 0.0f);
    codeword[0] = between + (level == pair.other ? 0.75f : -0.75f);
  }
  const std::string name = "version 2 of encoding, chains that round one way";
  CheckCodes(name, data);
  // The data is what it is meant to be: the exact sums choose otherwise, of both segments.
  const auto codes = CpuCodes(data);
  uint64_t differ[2] = {};
  for (uint64_t i = 0; i < kCount; ++i) {
    for (uint64_t s = 0; s < 2; ++s) {
      const double exact = data.labels[i * kClasses] + (s == 0 ? tail : low_tail);
      const uint64_t nearer = exact > between ? pair.other : pair.one;
      differ[s] += ReadIndex(codes.data(), (i * 2 + s) * data.bits(), data.bits()) != nearer;
    }
  }
  Expect(differ[0] > 20 && differ[1] > 20, name + ": the exact sums choose other codewords");
}

// Shapes that version 2 leaves to version 1.
void CheckOthers() {
  for (const EncodeCase& shape :
       {EncodeCase{1, 10, 3, 7, 4}, EncodeCase{1, 2, 1, 4097, 2}, EncodeCase{1, 65537, 1, 8, 2}}) {
    Expect(!IsUsed(EncodeData(shape, 1).spec()), NameOf(shape) + ": version 1");
  }
}

}  // namespace

void CheckEncodeVersions() {
  if (!IsUsed(EncodeData(kBrief[0], 1).spec())) {
    std::printf("skipped: version 2 of encoding (no tensor cores of 8.0 here)\n");
    return;
  }
  uint32_t seed = 600;
  for (const EncodeCase& one : kBrief) CheckCase(one, ++seed);
  for (const Pair& pair : kPairs) CheckRoundedChains(pair);
  if (brief) return;
  for (const EncodeCase& one : kAll) CheckCase(one, ++seed);
  CheckOthers();
}

}  // namespace testing
}  // namespace softpack
