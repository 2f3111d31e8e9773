#include "cuda_encode_check.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cases.h"
#include "cuda_harness.h"

namespace softpack {
namespace testing {
namespace {

void CheckProject(bool on_device) {
  Random random(1);
  for (const auto& [rows, inner, columns] : kProducts) {
    if (brief && rows != 130) continue;
    for (uint32_t flags = 0; flags < 8; ++flags) {
      const std::string name = "project " + std::to_string(rows) + "x" + std::to_string(inner) +
                               "x" + std::to_string(columns) + " flags " + std::to_string(flags) +
                               (on_device ? " on the device" : "");
      const auto a = random.Floats(rows * inner), b = random.Floats(inner * columns);
      const auto before = random.Floats(rows * columns);
      auto expected = before;
      SoftpackProjectArgs args{a.data(), b.data(),  expected.data(), rows,           inner,
                               columns,  flags & 1, flags >> 1 & 1,  flags >> 2 & 1, 1};
      cpu->project(&args);
      Array<float> a_there(a, on_device), b_there(b, on_device);
      Array<float> out(args.accumulate ? before : Poisoned<float>(before.size()), on_device);
      args.a = a_there.get();
      args.b = b_there.get();
      args.out = out.get();
      const int status = cuda->project(&args);
      Expect(status == kSoftpackOk, name + " " + Reason(status));
      const auto found = out.Read();
      Expect(Same(found, expected), name + " gives the CPU's bytes");
      double worst = 0;
      for (uint64_t i = 0; i < rows; ++i) {
        for (uint64_t j = 0; j < columns; ++j) {
          double sum = args.accumulate ? before[i * columns + j] : 0, size = std::fabs(sum);
          for (uint64_t k = 0; k < inner; ++k) {
            const double left = a[args.transpose_a ? k * rows + i : i * inner + k];
            const double right = b[args.transpose_b ? j * inner + k : k * columns + j];
            sum += left * right;
            size += std::fabs(left * right);
          }
          const double bound = static_cast<double>(inner + 1) * 0x1p-24 * size;
          worst = std::max(worst, std::fabs(found[i * columns + j] - sum) - bound);
        }
      }
      Expect(worst <= 0, name + " is within its bound of float64");
    }
  }
}

// The module's indices, which have to be the CPU's.
std::vector<uint16_t> CheckIndices(const std::string& name, const std::vector<float>& vectors,
                                   const std::vector<float>& codebook, uint64_t width,
                                   bool on_device) {
  const uint64_t count = vectors.size() / width, levels = codebook.size() / width;
  auto expected = Poisoned<uint16_t>(count);
  SoftpackNearestArgs args{
      vectors.data(), codebook.data(), expected.data(), count, width, levels, 1};
  cpu->nearest(&args);
  Array<float> vectors_there(vectors, on_device), codebook_there(codebook, on_device);
  Array<uint16_t> out(Poisoned<uint16_t>(count), on_device);
  args.vectors = vectors_there.get();
  args.codebook = codebook_there.get();
  args.out = out.get();
  const int status = cuda->nearest(&args);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  const auto found = out.Read();
  Expect(Same(found, expected), name + " gives the CPU's indices");
  return found;
}

void CheckNearest(bool on_device) {
  Random random(2);
  for (const auto& [count, width, levels] : kNearest) {
    if (brief && count != 129) continue;
    const std::string name = "nearest " + std::to_string(count) + " of width " +
                             std::to_string(width) + " among " + std::to_string(levels);
    const auto vectors = random.Floats(count * width);
    auto codebook = random.Floats(levels * width);
    // Of equal codewords the first must win.
    for (uint64_t level = levels / 2; level < levels; ++level) {
      std::copy_n(codebook.data() + (level - levels / 2) * width, width,
                  codebook.data() + level * width);
    }
    const auto found = CheckIndices(name, vectors, codebook, width, on_device);
    for (uint64_t i = 0; i < count; ++i) {
      double least = INFINITY, chosen = INFINITY;
      uint64_t best = 0;
      for (uint64_t level = 0; level < levels; ++level) {
        double distance = 0;
        for (uint64_t d = 0; d < width; ++d) {
          const double apart =
              static_cast<double>(vectors[i * width + d]) - codebook[level * width + d];
          distance += apart * apart;
        }
        if (level == found[i]) chosen = distance;
        if (distance < least) best = level;
        least = std::min(least, distance);
      }
      Expect(chosen <= least * (1 + 1e-5) + 1e-6, name + ": the nearest in float64, or as near");
      Expect(best == found[i] || found[i] < levels / 2 || levels < 2,
             name + ": the first of equals");
    }
  }
  // No score below infinity: index 0.
  const std::vector<float> vectors = {NAN, 1.0f}, codebook = {1.0f, INFINITY, -INFINITY};
  Array<float> vectors_there(vectors, on_device), codebook_there(codebook, on_device);
  Array<uint16_t> out(Poisoned<uint16_t>(2), on_device);
  const SoftpackNearestArgs args{vectors_there.get(), codebook_there.get(), out.get(), 2, 1, 3, 1};
  Expect(cuda->nearest(&args) == kSoftpackOk, "nearest of NaN");
  Expect(out.Read() == std::vector<uint16_t>({0, 0}), "nearest of NaN is 0");
}

// Vectors equally far from two codewords, except for differences between those that bfloat16 parts
// resolve and those that float32 does not; nearly equal codewords; sizes whose squares underflow or
// overflow; and vectors for which no distance is defined.
void CheckNearTies(bool on_device) {
  constexpr uint64_t kCount = 257, kWidth = 20, kLevels = 640, kApart = 512;
  Random random(8);
  for (const float size : {1.0f, 1e-21f, 1e-30f, 1e18f}) {
    if (brief && size != 1.0f) continue;
    auto vectors = random.Floats(kCount * kWidth), codebook = random.Floats(kLevels * kWidth);
    for (float& value : vectors) value *= size;
    for (float& value : codebook) value *= size;
    for (uint64_t level = kApart; level < kLevels; ++level) {
      const uint64_t like = level * 97 % kApart;
      std::copy_n(codebook.data() + like * kWidth, kWidth, codebook.data() + level * kWidth);
      // From 2^-2 to 2^-25 of it, in some place.
      float& moved = codebook[level * kWidth + level % kWidth];
      moved += std::ldexp(moved, -2 - static_cast<int>(level % 24));
    }
    for (uint64_t i = 8; i < kCount; ++i) {
      const float off = std::ldexp(i % 2 == 0 ? 1.0f : -1.0f, -4 - static_cast<int>(i % 20));
      for (uint64_t d = 0; d < kWidth; ++d) {
        const float one = codebook[i * kWidth + d], other = codebook[(kApart - i) * kWidth + d];
        vectors[i * kWidth + d] = (0.5f + off) * one + (0.5f - off) * other;
      }
    }
    vectors[3 * kWidth + 1] = NAN;
    vectors[5 * kWidth + 7] = -INFINITY;
    vectors[7 * kWidth] = 3e38f;
    for (const bool bad : {false, true}) {
      if (brief && (bad || !on_device)) continue;
      if (bad) codebook[5 * kWidth + 3] = NAN, codebook[9 * kWidth] = INFINITY;
      const std::string name = "nearest of near ties at size " + std::to_string(size);
      CheckIndices(name, vectors, codebook, kWidth, on_device);
    }
  }
}

// What products of bfloat16 parts leave out, all in one direction: low parts of a vector and of one
// codeword are near the greatest that they can be and agree, those of another codeword do not. The
// second seems to be nearer until the last element makes it so.
void CheckAlignedParts(bool on_device) {
  constexpr uint64_t kCount = 256, kWidth = 5, kLevels = 256, kOther = 40;
  constexpr float kLow = 0.0038f, kApart = 0.05f;
  Random random(9);
  auto codebook = random.Floats(kLevels * kWidth);
  for (float& value : codebook) value = std::copysign(20.0f + value, value);
  std::vector<float> vectors(kCount * kWidth, 1.0f + kLow);
  for (uint64_t d = 0; d + 1 < kWidth; ++d) {
    codebook[d] = 1.0f + kLow;
    codebook[kOther * kWidth + d] = 1.0f + 0x1p-7f - kLow;
  }
  codebook[kWidth - 1] = kApart;
  codebook[kOther * kWidth + kWidth - 1] = -kApart;
  for (uint64_t i = 0; i < kCount; ++i) {
    vectors[i * kWidth + kWidth - 1] = (static_cast<float>(i) - 128.0f) * 2e-5f;
  }
  const auto found = CheckIndices("nearest of aligned parts", vectors, codebook, kWidth, on_device);
  Expect(std::count(found.begin(), found.end(), 0) > 20 &&
             std::count(found.begin(), found.end(), kOther) > 20,
         "aligned parts: both codewords are the nearest of some");
}

void CheckEncode(bool on_device) {
  Random random(3);
  for (const EncodeCase& shape : kEncodes) {
    if (brief && shape.count != 17) continue;
    const std::string name = "encode " + std::to_string(shape.count) + " labels of " +
                             std::to_string(shape.classes) + " classes";
    const uint64_t latent = shape.segments * shape.width;
    const auto labels = random.Floats(shape.count * shape.classes);
    const auto projection = random.Floats(shape.classes * latent);
    const auto codebook = random.Floats(shape.levels * shape.width);
    uint32_t bits = 1;
    while ((uint64_t{1} << bits) < shape.levels) ++bits;
    const SoftpackEncoderSpec spec{projection.data(), codebook.data(), shape.classes, latent,
                                   shape.width,       shape.levels,    bits};
    SoftpackEncoder *on_cpu = nullptr, *on_cuda = nullptr;
    Expect(cpu->encoder_create(&spec, &on_cpu) == kSoftpackOk, name);
    const int status = cuda->encoder_create(&spec, &on_cuda);
    Expect(status == kSoftpackOk, name + " " + Reason(status));
    if (status != kSoftpackOk) return;
    auto expected = Poisoned<uint8_t>((shape.count * shape.segments * bits + 7) / 8);
    SoftpackEncodeArgs args{labels.data(), expected.data(), shape.count, 1};
    cpu->encode(on_cpu, &args);
    Array<float> labels_there(labels, on_device);
    Array<uint8_t> out(Poisoned<uint8_t>(expected.size()), on_device);
    args.labels = labels_there.get();
    args.out = out.get();
    Expect(cuda->encode(on_cuda, &args) == kSoftpackOk, name);
    Expect(Same(out.Read(), expected), name + " gives the CPU's codes");
    cpu->encoder_destroy(on_cpu);
    cuda->encoder_destroy(on_cuda);
  }
}

}  // namespace

void CheckEncoders(bool on_device) {
  CheckProject(on_device);
  CheckNearest(on_device);
  CheckNearTies(on_device);
  CheckAlignedParts(on_device);
  CheckEncode(on_device);
}

}  // namespace testing
}  // namespace softpack
