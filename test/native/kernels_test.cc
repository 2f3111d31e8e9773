// Tests of the kernels without Node.js, for sanitizers: every instruction set against the scalar
// bytes on odd shapes in buffers of exactly the right size, packing at every offset, and the thread
// pool with many callers at once.
//   softpack_kernels_test [isa...]    only these instruction sets
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cells_test.h"
#include "core/bits.h"
#include "core/quantiser.h"
#include "core/rans.h"
#include "core/scalar_math.h"
#include "core/thread_pool.h"
#include "cpu/amx/amx_product.h"
#include "cpu/cpu_backend.h"
#include "cpu/decoder.h"
#include "cpu/dispatch.h"
#include "cpu/encoder.h"
#include "cpu/operations.h"

namespace softpack {
namespace {

int failures = 0;

void Expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "failed: %s\n", what.c_str());
}

// Nearly normal, with variance 1: sums of four uniform numbers. std::normal_distribution takes
// logarithms of long doubles, which an emulator of arm64 computes in software.
std::vector<float> RandomFloats(std::mt19937& random, uint64_t length) {
  constexpr float kScale = 1.7320508f / 65536;
  std::vector<float> values(length);
  for (float& value : values) {
    uint32_t sum = 0;
    for (int draw = 0; draw < 2; ++draw) {
      const auto drawn = static_cast<uint32_t>(random());
      sum += (drawn & 0xffff) + (drawn >> 16);
    }
    value = (static_cast<float>(sum) - 2 * 65535.0f) * kScale;
  }
  return values;
}

template <class T>
bool SameBytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

constexpr uint64_t kSizes[] = {0, 1, 7, 17, 97, 260};

void TestProject(const Isa& isa) {
  std::mt19937 random(1);
  for (const uint64_t rows : kSizes) {
    for (const uint64_t inner : kSizes) {
      for (const uint64_t columns : kSizes) {
        const auto a = RandomFloats(random, rows * inner);
        const auto b = RandomFloats(random, inner * columns);
        const auto before = RandomFloats(random, rows * columns);
        const uint32_t flags = static_cast<uint32_t>(random() % 8);
        auto expected = before;
        auto found = before;
        SoftpackProjectArgs args{a.data(), b.data(),  expected.data(), rows,           inner,
                                 columns,  flags & 1, flags >> 1 & 1,  flags >> 2 & 1, 1};
        Expect(Project(kScalarKernels, args) == kSoftpackOk, "project returns");
        args.out = found.data();
        args.threads = 3;
        Expect(Project(*isa.kernels, args) == kSoftpackOk, "project returns");
        Expect(SameBytes(expected, found), std::string("project ") + isa.name + " " +
                                               std::to_string(rows) + "x" + std::to_string(inner) +
                                               "x" + std::to_string(columns));
      }
    }
  }
}

void TestEncode(const Isa& isa) {
  std::mt19937 random(2);
  for (const uint64_t count : {0, 1, 17, 203}) {
    for (const uint64_t width : {1, 5, 20}) {
      const uint64_t classes = 33, latent = 3 * width, levels = 27;
      const auto labels = RandomFloats(random, count * classes);
      const auto projection = RandomFloats(random, classes * latent);
      const auto codebook = RandomFloats(random, levels * width);
      std::vector<uint8_t> expected((count * 3 * 5 + 7) / 8, 0xaa);
      std::vector<uint8_t> found(expected.size(), 0x55);
      const SoftpackEncoderSpec spec{
          projection.data(), codebook.data(), classes, latent, width, levels, 5};
      SoftpackEncoder scalar, vector;
      Expect(scalar.Create(*IsaNamed("scalar"), spec) == kSoftpackOk, "encoder is created");
      Expect(vector.Create(isa, spec) == kSoftpackOk, "encoder is created");
      Expect(scalar.Encode({labels.data(), expected.data(), count, 1}) == kSoftpackOk,
             "encode returns");
      Expect(vector.Encode({labels.data(), found.data(), count, 2}) == kSoftpackOk,
             "encode returns");
      Expect(SameBytes(expected, found), std::string("encode ") + isa.name);
    }
  }
}

// Peaked labels, which are encoded without the full projection: the codes must equal those of
// project and nearest, also if two codewords are equally near.
void TestSparseEncode(const Isa& isa) {
  std::mt19937 random(9);
  for (const uint64_t width : {5, 8, 20, 50}) {
    const uint64_t count = 203, classes = 211, segments = 4, latent = segments * width;
    const uint64_t levels = 64;
    const auto projection = RandomFloats(random, classes * latent);
    auto codebook = RandomFloats(random, levels * width);
    for (uint64_t d = 0; d < width; ++d) {
      codebook[(levels - 1) * width + d] = codebook[d];  // an exact tie
      codebook[(levels - 2) * width + d] = codebook[width + d] * (1 + 1e-6f);
    }
    std::vector<float> labels(count * classes);
    for (uint64_t i = 0; i < count; ++i) {
      for (uint64_t j = 0; j < classes; ++j) {
        const double logit = 4.0 * std::normal_distribution<double>()(random);
        labels[i * classes + j] = static_cast<float>(std::exp(logit * logit - 60));
      }
      // Some labels whose segments lie on codewords, so that the scores of copies tie.
      if (i % 3 == 0) labels[i * classes + i % classes] = 1.0f;
    }
    const SoftpackEncoderSpec spec{
        projection.data(), codebook.data(), classes, latent, width, levels, 6};
    SoftpackEncoder encoder;
    Expect(encoder.Create(isa, spec) == kSoftpackOk, "encoder is created");
    std::vector<uint8_t> found(count * segments * 6 / 8 + 1), expected(found.size());
    found.resize((count * segments * 6 + 7) / 8);
    expected.resize(found.size());
    Expect(encoder.Encode({labels.data(), found.data(), count, 1}) == kSoftpackOk,
           "encode returns");
    std::vector<float> projected(count * latent);
    std::vector<uint16_t> indices(count * segments);
    SoftpackProjectArgs product = {};
    product.a = labels.data();
    product.b = projection.data();
    product.out = projected.data();
    product.rows = count;
    product.inner = classes;
    product.columns = latent;
    product.threads = 1;
    Expect(Project(*isa.kernels, product) == kSoftpackOk, "project returns");
    Expect(Nearest(isa, {projected.data(), codebook.data(), indices.data(), count * segments, width,
                         levels, 1}) == kSoftpackOk,
           "nearest returns");
    PackIndices(indices.data(), 0, 6, indices.size(), expected.data());
    Expect(SameBytes(expected, found), std::string("sparse encode ") + isa.name);
  }
}

struct DecodeCase {
  uint64_t classes, stages, levels, width, base_rows;
  uint32_t bits, head, method;

  std::string Name() const {
    return std::to_string(classes) + " classes, " + std::to_string(stages) + " stages, head " +
           std::to_string(head) + ", method " + std::to_string(method);
  }
};

// Buffers of exactly the right size: a sanitizer sees any byte read or written beyond.
void TestDecodeCase(const Isa& isa, const DecodeCase& test) {
  std::mt19937 random(static_cast<uint32_t>(test.classes + test.head));
  const uint64_t count = 101;
  const auto codebooks = RandomFloats(random, test.stages * test.levels * test.width);
  const auto basis = RandomFloats(random, test.width * test.classes);
  const auto bias = RandomFloats(random, test.classes);
  const auto bases = RandomFloats(random, test.base_rows * test.width);
  SoftpackDecoderSpec spec = {};
  spec.codebooks = codebooks.data();
  spec.basis = basis.data();
  spec.bias = bias.data();
  spec.bases = test.base_rows == 0 ? nullptr : bases.data();
  spec.base_rows = test.base_rows;
  spec.classes = test.classes;
  spec.latent = spec.width = test.width;
  spec.stages = test.stages;
  spec.levels = test.levels;
  spec.codebook_stride = test.levels * test.width;
  spec.bits = test.bits;
  spec.head = test.head;
  spec.head_parameter = 0.5f;
  spec.method = test.method;
  std::vector<uint8_t> codes((count * test.stages * test.bits + 7) / 8);
  for (uint64_t i = 0; i < count * test.stages; ++i) {
    WriteIndex(codes.data(), i * test.bits, test.bits,
               static_cast<uint16_t>(random() % test.levels));
  }
  std::vector<uint32_t> pairs(2 * count);
  for (uint32_t& row : pairs) row = static_cast<uint32_t>(random() % (test.base_rows + 1));
  if (test.base_rows > 0) {
    for (uint32_t& row : pairs) row %= static_cast<uint32_t>(test.base_rows);
  }
  const auto weights = RandomFloats(random, count);
  const auto logits = RandomFloats(random, count * test.classes);

  SoftpackDecoder scalar, vector;
  Expect(scalar.Create(*IsaNamed("scalar"), spec) == kSoftpackOk, "decoder is created");
  Expect(vector.Create(isa, spec) == kSoftpackOk, "decoder is created");
  SoftpackLabels labels = {codes.data(), codes.size(), nullptr,       0,
                           count,        pairs.data(), weights.data()};
  const auto decode = [&](const SoftpackDecoder& decoder, void* out, uint32_t type,
                          uint32_t threads) {
    return decoder.Decode({labels, out, type, threads});
  };
  std::vector<float> expected(count * test.classes), found(count * test.classes);
  Expect(decode(scalar, expected.data(), kSoftpackFloat32, 1) == kSoftpackOk, "decode returns");
  Expect(decode(vector, found.data(), kSoftpackFloat32, 2) == kSoftpackOk, "decode returns");
  Expect(SameBytes(expected, found), std::string("decode ") + isa.name + ": " + test.Name());
  for (const uint32_t type : {kSoftpackFloat16, kSoftpackBfloat16}) {
    std::vector<uint16_t> expected_half(count * test.classes), found_half(count * test.classes);
    Expect(decode(scalar, expected_half.data(), type, 1) == kSoftpackOk, "decode returns");
    Expect(decode(vector, found_half.data(), type, 2) == kSoftpackOk, "decode returns");
    Expect(SameBytes(expected_half, found_half), std::string("decode to half ") + isa.name);
  }
  if (test.head != kSoftpackHeadIdentity) {
    std::vector<float> losses(count), found_losses(count);
    Expect(scalar.DecodeKl({labels, logits.data(), losses.data(), expected.data(), 2.0f, 1.0f,
                            kSoftpackLossKl, 1}) == kSoftpackOk,
           "decode_kl returns");
    Expect(vector.DecodeKl({labels, logits.data(), found_losses.data(), found.data(), 2.0f, 1.0f,
                            kSoftpackLossKl, 2}) == kSoftpackOk,
           "decode_kl returns");
    Expect(SameBytes(expected, found) && SameBytes(losses, found_losses),
           std::string("decode_kl ") + isa.name + ": " + test.Name());
  }
  if (test.levels < uint64_t{1} << test.bits) {
    WriteIndex(codes.data(), (100 * test.stages + test.stages / 2) * test.bits, test.bits,
               static_cast<uint16_t>(test.levels));
    Expect(decode(vector, found.data(), kSoftpackFloat32, 2) == kSoftpackInvalidCodes,
           "a wrong index is told");
  }
  const uint32_t beyond = 102;
  labels.list = &beyond;
  labels.count = 1;
  Expect(decode(vector, found.data(), kSoftpackFloat32, 1) == kSoftpackInvalidArgument,
         "a label beyond the codes is told");
}

void TestDecode(const Isa& isa) {
  for (const uint32_t method :
       {kSoftpackMethodLatent, kSoftpackMethodTable, kSoftpackMethodFixed}) {
    for (const uint32_t head : {kSoftpackHeadIdentity, kSoftpackHeadClamp, kSoftpackHeadSoftmax}) {
      for (const uint64_t classes : {1, 7, 48, 64, 999, 1001}) {
        TestDecodeCase(isa, {classes, 9, 13, 3, 0, 4, head, method});
        TestDecodeCase(isa, {classes, 9, 13, 3, 5, 4, head, method});
      }
    }
    // Narrow blocks, and many stages: several groups and runs.
    TestDecodeCase(isa, {300, 150, 200, 2, 0, 8, kSoftpackHeadClamp, method});
    TestDecodeCase(isa, {200, 40, 1000, 2, 3, 10, kSoftpackHeadSoftmax, method});
  }
}

// The methods on a bfloat16 unit against the exact one, over all shapes.
void TestBfloat(const Isa& isa) {
  std::mt19937 random(7);
  double size = 0, bfloat_error = 0, split_error = 0;
  for (const uint64_t classes : {1, 7, 48, 999, 1001}) {
    for (const uint64_t count : {1, 17, 300}) {
      const uint64_t stages = 9, levels = 16, width = 5, latent = stages * width;
      const auto codebooks = RandomFloats(random, levels * width);
      const auto basis = RandomFloats(random, latent * classes);
      const auto bias = RandomFloats(random, classes);
      SoftpackDecoderSpec spec = {};
      spec.codebooks = codebooks.data();
      spec.basis = basis.data();
      spec.bias = bias.data();
      spec.classes = classes;
      spec.latent = latent;
      spec.stages = stages;
      spec.levels = levels;
      spec.width = spec.latent_step = width;
      spec.bits = 4;
      std::vector<uint8_t> codes((count * stages * 4 + 7) / 8);
      for (uint8_t& byte : codes) byte = static_cast<uint8_t>(random());
      const auto decode = [&](uint32_t method) {
        SoftpackDecoder decoder;
        spec.method = method;
        std::vector<float> out(count * classes);
        const SoftpackLabels labels = {codes.data(), codes.size(), nullptr, 0,
                                       count,        nullptr,      nullptr};
        Expect(decoder.Create(isa, spec) == kSoftpackOk, "decoder is created");
        Expect(decoder.Decode({labels, out.data(), kSoftpackFloat32, 2}) == kSoftpackOk,
               "decode returns");
        return out;
      };
      const auto exact = decode(kSoftpackMethodLatent);
      const auto bfloat = decode(kSoftpackMethodBfloat), split = decode(kSoftpackMethodSplit);
      for (uint64_t i = 0; i < exact.size(); ++i) {
        size += std::pow(static_cast<double>(exact[i]), 2);
        bfloat_error += std::pow(static_cast<double>(bfloat[i]) - exact[i], 2);
        split_error += std::pow(static_cast<double>(split[i]) - exact[i], 2);
      }
    }
  }
  Expect(std::sqrt(bfloat_error / size) < 4e-3, std::string("bfloat ") + isa.name);
  Expect(std::sqrt(split_error / size) < 1e-5, std::string("split ") + isa.name);
}

// AMX tiles as plain arrays, as the instructions are specified: 16 rows of 64 bytes.
class ArrayTiles {
 public:
  void LoadC(const float* c00, const float* c01, const float* c10, const float* c11,
             uint64_t stride) {
    Load(c_[0], c00, stride);
    Load(c_[1], c01, stride);
    Load(c_[2], c10, stride);
    Load(c_[3], c11, stride);
  }
  void StoreC(float* c00, float* c01, float* c10, float* c11, uint64_t stride) const {
    Store(c_[0], c00, stride);
    Store(c_[1], c01, stride);
    Store(c_[2], c10, stride);
    Store(c_[3], c11, stride);
  }
  void LoadA(const uint16_t* a0, const uint16_t* a1, uint64_t stride) {
    Load(a_[0], a0, stride);
    Load(a_[1], a1, stride);
  }
  void LoadB(const uint16_t* b0, const uint16_t* b1, uint64_t stride) {
    Load(b_[0], b0, stride);
    Load(b_[1], b1, stride);
  }
  void Fetch(const uint16_t*) {}
  void Multiply() {
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) Product(a_[i], b_[j], c_[2 * i + j]);
    }
  }

 private:
  struct Tile {
    uint8_t bytes[16][64];
  };

  static void Load(Tile& tile, const void* from, uint64_t stride) {
    for (int row = 0; row < 16; ++row) {
      std::memcpy(tile.bytes[row], static_cast<const uint8_t*>(from) + row * stride, 64);
    }
  }
  static void Store(const Tile& tile, void* to, uint64_t stride) {
    for (int row = 0; row < 16; ++row) {
      std::memcpy(static_cast<uint8_t*>(to) + row * stride, tile.bytes[row], 64);
    }
  }
  static float Element(const Tile& tile, int row, int index) {
    uint16_t bits;
    std::memcpy(&bits, &tile.bytes[row][2 * index], 2);
    return scalar::FloatOf(static_cast<uint32_t>(bits) << 16);
  }
  // tdpbf16ps: c[m][n] += a[m][2k] b[k][2n] + a[m][2k + 1] b[k][2n + 1] for k of 16.
  static void Product(const Tile& a, const Tile& b, Tile& c) {
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < 16; ++n) {
        float sum;
        std::memcpy(&sum, &c.bytes[m][4 * n], 4);
        for (int k = 0; k < 16; ++k) {
          sum += Element(a, m, 2 * k) * Element(b, k, 2 * n);
          sum += Element(a, m, 2 * k + 1) * Element(b, k, 2 * n + 1);
        }
        std::memcpy(&c.bytes[m][4 * n], &sum, 4);
      }
    }
  }

  Tile a_[2], b_[2], c_[4];
};

// The blocking of the AMX product, on processors without AMX, with integers small enough for every
// sum to be exact.
void TestAmxProduct(uint64_t rows, uint64_t inner, bool started) {
  std::mt19937 random(8);
  const uint64_t panels = 3, columns = panels * kAmxColumns;
  const uint64_t a_stride = inner + 32, out_stride = columns + 16;
  const auto small = [&] { return static_cast<float>(static_cast<int>(random() % 17) - 8); };
  std::vector<float> a(rows * inner), b(inner * columns), expected(rows * out_stride);
  for (float& value : a) value = small();
  for (float& value : b) value = small();
  std::vector<float> start(columns), found(rows * out_stride, NAN);
  for (float& value : start) value = small();
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t j = 0; j < columns; ++j) {
      float* const own = &expected[i * out_stride + j];
      *own = started ? start[j] : small();
      if (!started) found[i * out_stride + j] = *own;
    }
  }
  std::vector<uint16_t> a_words(rows * a_stride), b_words(inner * columns);
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t k = 0; k < inner; ++k) {
      a_words[i * a_stride + k] = scalar::FloatToBfloat(a[i * inner + k]);
    }
  }
  for (uint64_t k = 0; k < inner; ++k) {
    for (uint64_t j = 0; j < columns; ++j) {
      const uint64_t panel = j / kAmxColumns * inner * kAmxColumns;
      b_words[panel + (k / 2 * kAmxColumns + j % kAmxColumns) * 2 + k % 2] =
          scalar::FloatToBfloat(b[k * columns + j]);
    }
  }
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t j = 0; j < columns; ++j) {
      for (uint64_t k = 0; k < inner; ++k) {
        expected[i * out_stride + j] += a[i * inner + k] * b[k * columns + j];
      }
    }
  }
  ArrayTiles tiles;
  AmxProduct(tiles, a_words.data(), a_stride, b_words.data(), rows, inner, panels,
             started ? start.data() : nullptr, found.data(), out_stride);
  bool same = true;
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t j = 0; j < out_stride; ++j) {
      const float value = found[i * out_stride + j];
      same = same && (j < columns ? value == expected[i * out_stride + j] : std::isnan(value));
    }
  }
  Expect(same, "the AMX product is the product");
}

// The bounds that core/scalar_math.h states, by a walk through all exponents.
void TestLossFunctions() {
  const auto last_place = [](double value) {
    const float size = static_cast<float>(std::fabs(value));
    return static_cast<double>(std::nextafterf(size, INFINITY)) - size;
  };
  double worst_power = 0, worst_logarithm = 0;
  for (float x = -124.5f; x <= 0; x += 1.0f / 8192) {
    const double expected = std::exp2(static_cast<double>(x));
    worst_power =
        std::max(worst_power, std::fabs(scalar::Exp2(x) - expected) / last_place(expected));
  }
  for (uint32_t bits = 0x00800000; bits < 0x7f800000; bits += 3011) {
    const float x = scalar::FloatOf(bits);
    const double expected = std::log2(static_cast<double>(x)) + 10;
    const double unit = last_place(std::max(1.0, std::fabs(expected)));
    worst_logarithm = std::max(worst_logarithm, std::fabs(scalar::Log2Of1024(x) - expected) / unit);
  }
  Expect(worst_power <= 1, "2^x to " + std::to_string(worst_power) + " units");
  Expect(worst_logarithm <= 1.7, "log2 to " + std::to_string(worst_logarithm) + " units");
  Expect(scalar::Exp2(0) == 1 && scalar::Exp2(-INFINITY) == std::exp2(-125.0f), "2^x at both ends");
  Expect(std::isfinite(scalar::Log2Of1024(0)), "log2 of zero is finite");
}

// A task that throws has failed, on whatever thread it ran; the pool continues to work.
void TestThrowingTasks() {
  for (const uint32_t threads : {1u, 4u}) {
    std::atomic<int> started{0};
    const auto run = [&](const auto& fail) {
      return ParallelFor(threads, 64, [&](uint64_t task) {
        ++started;
        if (task >= 8) fail();
        return kSoftpackOk;
      });
    };
    Expect(run([] { throw std::bad_alloc(); }) == kSoftpackOutOfMemory, "bad_alloc is a status");
    Expect(run([] { throw 1; }) == kSoftpackFailed, "any exception is a status");
    started = 0;
    Expect(run([] {}) == kSoftpackOk && started == 64, "the pool works on");
  }
}

void TestBits() {
  std::mt19937 random(4);
  for (uint32_t bits = 1; bits <= 16; ++bits) {
    for (uint64_t offset = 0; offset < 16; ++offset) {
      for (const uint64_t count : {0, 1, 2, 9}) {
        std::vector<uint16_t> indices(count), back(count);
        for (uint16_t& index : indices)
          index = static_cast<uint16_t>(random() & ((1u << bits) - 1));
        // Exactly as long as the bits need: a sanitizer sees any byte read or written beyond.
        std::vector<uint8_t> bytes((offset + count * bits + 7) / 8, 0xaa);
        PackIndices(indices.data(), offset, bits, count, bytes.data());
        UnpackIndices(bytes.data(), offset, bits, count, back.data());
        Expect(SameBytes(indices, back), "packed indices come back");
      }
    }
  }
}

void TestThreadPool() {
  std::atomic<uint64_t> sum{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&sum, caller] {
      for (int round = 0; round < 200; ++round) {
        const int status = ParallelFor(static_cast<uint32_t>(caller), 10, [&sum](uint64_t task) {
          // A job inside a job: its caller may itself be a helper.
          return ParallelFor(3, 3, [&sum, task](uint64_t inner) {
            sum += task * 3 + inner;
            return kSoftpackOk;
          });
        });
        Expect(status == kSoftpackOk, "tasks succeed");
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  Expect(sum == uint64_t{6} * 200 * (29 * 30 / 2), "every task runs once");
  const auto fail = [](uint64_t task) { return task == 5 ? kSoftpackOutOfMemory : kSoftpackOk; };
  Expect(ParallelFor(2, 50, fail) == kSoftpackOutOfMemory, "a task's failure is told");
}

// Images, views and outputs of exactly the right size: a sanitizer sees any byte read or written
// beyond.
void TestAugment(const Isa& isa) {
  std::mt19937 random(5);
  const auto below = [&random](uint32_t bound) { return static_cast<int32_t>(random() % bound); };
  for (int round = 0; round < 200; ++round) {
    std::vector<std::vector<uint8_t>> pixels;
    std::vector<SoftpackImage> images;
    for (int i = 0; i < 3; ++i) {
      const uint32_t height = 1 + below(9), width = 1 + below(40);
      pixels.emplace_back(size_t{height} * width * 3);
      for (uint8_t& byte : pixels.back()) byte = static_cast<uint8_t>(random());
      images.push_back({pixels.back().data(), height, width});
    }
    const uint32_t height = 1 + below(12), width = 1 + below(60);
    std::vector<int32_t> views;
    std::vector<float> weights;
    const auto add_box = [&](uint32_t rows, uint32_t columns, int32_t least) {
      const int32_t h = least + below(rows + 1 - least), w = least + below(columns + 1 - least);
      views.insert(views.end(), {below(rows - h + 1), below(columns - w + 1), h, w});
    };
    for (int i = 0; i < 4; ++i) {
      for (int part = 0; part < 2; ++part) {
        const int32_t image = below(3);
        views.push_back(part == 1 && i == 0 ? -1 : image);
        add_box(images[image].height, images[image].width, 1);
        views.push_back(below(2));
      }
      add_box(height, width, 0);
      weights.push_back(static_cast<float>(below(256)) / 255);
    }
    std::vector<float> expected(size_t{4} * height * width * 3, -1.0f), found = expected;
    SoftpackAugmentArgs args{images.data(),
                             images.size(),
                             views.data(),
                             weights.data(),
                             expected.data(),
                             4,
                             height,
                             width,
                             {1e-6f, 2e-6f, 3e-6f},
                             {-1.0f, 0.0f, 1.0f},
                             1,
                             static_cast<uint32_t>(round % 2),
                             static_cast<uint32_t>(round / 2 % 2)};
    Expect(Augment(kScalarKernels, args) == kSoftpackOk, "augment returns");
    args.out = found.data();
    args.threads = 3;
    Expect(Augment(*isa.kernels, args) == kSoftpackOk && SameBytes(expected, found),
           "augment agrees");
  }
}

// Streams of values that a geometric distribution gives, in buffers of exactly the right size: all
// instruction sets decode them, and none reads beyond one that is cut or damaged.
void TestRans(const Isa& isa) {
  std::mt19937 random(7);
  std::vector<uint16_t> frequencies(kRansSymbols, 0);
  frequencies[0] = 16;
  for (uint32_t distance = 0; distance < 8; ++distance) {
    frequencies[128 + distance] = frequencies[128 - distance] =
        static_cast<uint16_t>(1024 >> distance);
  }
  uint32_t sum = 0;
  for (const uint16_t frequency : frequencies) sum += frequency;
  frequencies[128] = static_cast<uint16_t>(frequencies[128] + kRansSlots - sum);
  std::vector<uint32_t> entries;
  for (uint32_t symbol = 0; symbol < kRansSymbols; ++symbol) {
    for (uint32_t i = 0; i < frequencies[symbol]; ++i) {
      entries.push_back((frequencies[symbol] - 1u) | i << 12 | (symbol ^ 0x80u) << 24);
    }
  }
  for (const uint32_t trellis : {1u, 4u, 8u}) {
    for (const uint32_t lanes : {0u, 1u, 8u, 16u, 32u}) {
      for (const uint64_t columns : kSizes) {
        const uint64_t rows = 3;
        const std::vector<uint16_t> row_tables(trellis == 1 ? rows : 2 * rows, 0);
        std::vector<int16_t> values(rows * columns);
        for (int16_t& value : values) {
          const uint32_t drawn = random();
          while (value < 7 && (drawn >> value & 1) != 0) ++value;
          if ((drawn & 0x10000) != 0) value = static_cast<int16_t>(-value);
          if ((drawn >> 20) == 1) value = static_cast<int16_t>(drawn);
        }
        const RansShape shape{row_tables.data(), 1, rows, columns, trellis};
        std::vector<uint8_t> bytes(RansCapacity(values.size()));
        RansEncodeArgs encode{values.data(), frequencies.data(), shape, lanes,
                              bytes.data(),  bytes.size(),       0};
        Expect(EncodeRans(&encode) == kSoftpackOk, "rans encodes");
        bytes.resize(encode.length);
        bytes.shrink_to_fit();
        std::vector<int16_t> found(values.size());
        RansDecodeArgs decode{bytes.data(), bytes.size(), entries.data(), shape, found.data()};
        Expect(DecodeRans(*isa.kernels, decode) == kSoftpackOk && SameBytes(values, found),
               "rans decodes");
        for (int trial = 0; trial < 20; ++trial) {
          std::vector<uint8_t> damaged(bytes.begin(),
                                       bytes.begin() + random() % (bytes.size() + 1));
          if (!damaged.empty()) damaged[random() % damaged.size()] ^= 1 << random() % 8;
          decode.bytes = damaged.data();
          decode.length = damaged.size();
          const int status = DecodeRans(*isa.kernels, decode);
          decode.out = found.data();
          const auto first = found;
          Expect(DecodeRans(kScalarKernels, decode) == status, "damage is judged alike");
          Expect(status != kSoftpackOk || SameBytes(first, found), "damage decodes alike");
        }
      }
    }
  }
}

// Both trellises on numbers of labels around those that an instruction set takes at a time, NaN and
// infinities among the values.
void TestQuantiser(const Isa& isa) {
  std::mt19937 random(9);
  for (const uint64_t labels : {0, 1, 3, 8, 21}) {
    for (const uint64_t rank : {1, 7, 64}) {
      const uint64_t classes = rank + 2;
      auto logits = RandomFloats(random, labels * classes);
      std::vector<float> centred(logits.size(), -1), expected_centred(logits.size(), -2);
      CentreArgs centre{logits.data(), nullptr, expected_centred.data(), labels, classes, 1.5, 1};
      Expect(Centre(kScalarKernels, centre) == kSoftpackOk, "centre returns");
      centre.out = centred.data();
      Expect(Centre(*isa.kernels, centre) == kSoftpackOk && SameBytes(centred, expected_centred),
             std::string("centre ") + isa.name);

      auto values = RandomFloats(random, labels * rank);
      if (values.size() > 6) {
        values[0] = NAN;
        values[3] = INFINITY;
        values[6] = -INFINITY;
      }
      std::vector<int8_t> shifts(rank);
      for (int8_t& shift : shifts) shift = static_cast<int8_t>(random() % 40);
      std::vector<double> costs(rank * 2 * kRansSymbols);
      for (double& cost : costs) cost = static_cast<double>(random() % 1000) / 500;
      for (const uint32_t trellis : {4, 8}) {
        std::vector<int16_t> indices(values.size(), -1), expected(values.size(), -2);
        QuantiseArgs args{values.data(),
                          shifts.data(),
                          costs.data(),
                          expected.data(),
                          labels,
                          rank,
                          0.25,
                          trellis,
                          1};
        Expect(Quantise(kScalarKernels, args) == kSoftpackOk, "quantise returns");
        args.out = indices.data();
        Expect(Quantise(*isa.kernels, args) == kSoftpackOk && SameBytes(indices, expected),
               std::string("quantise ") + isa.name + " " + std::to_string(labels) + "x" +
                   std::to_string(rank));
        std::vector<float> back(values.size(), -1), expected_back(values.size(), -2);
        DequantiseArgs there{
            expected.data(), shifts.data(), expected_back.data(), labels, rank, 0.25, trellis, 1};
        Expect(Dequantise(kScalarKernels, there) == kSoftpackOk, "dequantise returns");
        there.out = back.data();
        Expect(Dequantise(*isa.kernels, there) == kSoftpackOk && SameBytes(back, expected_back),
               std::string("dequantise ") + isa.name);
      }
    }
  }
}

int Run(const std::vector<std::string>& isas) {
  TestBits();
  TestLossFunctions();
  TestThrowingTasks();
  TestThreadPool();
  for (const std::string& name : isas) {
    const Isa* const isa = IsaNamed(name.c_str());
    if (isa == nullptr) {
      std::printf("skipped: %s (this processor has only: %s)\n", name.c_str(), AvailableIsas());
      continue;
    }
    TestProject(*isa);
    TestEncode(*isa);
    TestSparseEncode(*isa);
    TestDecode(*isa);
    TestAugment(*isa);
    TestRans(*isa);
    TestQuantiser(*isa);
    if (isa->bfloat != nullptr) TestBfloat(*isa);
    if (isa->kernels->find_cells != nullptr) failures += TestCells(*isa);
    std::printf("done: %s\n", name.c_str());
  }
  for (const bool started : {false, true}) {
    TestAmxProduct(32, 32, started);
    TestAmxProduct(64, 256, started);
    TestAmxProduct(96, 544, started);
  }
  const SoftpackBackend* const backend = SoftpackCpuBackend();
  Expect(backend->abi_version == SOFTPACK_ABI_VERSION && backend->size == sizeof(SoftpackBackend),
         "the table tells its version and size");
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace softpack

int main(int argc, char** argv) {
  std::vector<std::string> isas(argv + 1, argv + argc);
  if (isas.empty()) isas = {"scalar", "avx2", "avx512", "avx512_bf16", "amx", "neon"};
  return softpack::Run(isas);
}
