// Tests of the kernels without Node.js, for sanitizers: every instruction set against the scalar
// bytes on odd shapes in buffers of exactly the right size, packing at every offset, and the thread
// pool with many callers at once.
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/bits.h"
#include "core/thread_pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/decoder.h"
#include "cpu/dispatch.h"
#include "cpu/operations.h"

namespace softpack {
namespace {

int failures = 0;

void Expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "failed: %s\n", what.c_str());
}

std::vector<float> RandomFloats(std::mt19937& random, uint64_t length) {
  std::normal_distribution<float> normal;
  std::vector<float> values(length);
  for (float& value : values) value = normal(random);
  return values;
}

template <class T>
bool SameBytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

constexpr uint64_t kSizes[] = {0, 1, 7, 17, 97, 260};

void TestProject(const KernelTable& table) {
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
        Expect(Project(table, args) == kSoftpackOk, "project returns");
        Expect(SameBytes(expected, found), std::string("project ") + table.isa + " " +
                                               std::to_string(rows) + "x" + std::to_string(inner) +
                                               "x" + std::to_string(columns));
      }
    }
  }
}

void TestEncode(const KernelTable& table) {
  std::mt19937 random(2);
  for (const uint64_t count : {0, 1, 17, 203}) {
    for (const uint64_t width : {1, 5, 20}) {
      const uint64_t classes = 33, latent = 3 * width, levels = 27;
      const auto labels = RandomFloats(random, count * classes);
      const auto projection = RandomFloats(random, classes * latent);
      const auto codebook = RandomFloats(random, levels * width);
      std::vector<uint8_t> expected((count * 3 * 5 + 7) / 8, 0xaa);
      std::vector<uint8_t> found(expected.size(), 0x55);
      SoftpackEncodeArgs args{labels.data(),
                              projection.data(),
                              codebook.data(),
                              expected.data(),
                              count,
                              classes,
                              latent,
                              width,
                              levels,
                              5,
                              1};
      Expect(Encode(kScalarKernels, args) == kSoftpackOk, "encode returns");
      args.out = found.data();
      args.threads = 2;
      Expect(Encode(table, args) == kSoftpackOk, "encode returns");
      Expect(SameBytes(expected, found), std::string("encode ") + table.isa);
    }
  }
}

void TestDecode(const KernelTable& table) {
  std::mt19937 random(3);
  for (const uint64_t classes : {1, 7, 48, 999}) {
    for (const uint32_t head : {kSoftpackHeadIdentity, kSoftpackHeadClamp, kSoftpackHeadSoftmax}) {
      for (const uint32_t method : {kSoftpackMethodLatent, kSoftpackMethodTable}) {
        const uint64_t stages = 9, levels = 13, width = 3, count = 101;
        const auto codebooks = RandomFloats(random, stages * levels * width);
        const auto basis = RandomFloats(random, width * classes);
        const auto bias = RandomFloats(random, classes);
        SoftpackDecoderSpec spec{codebooks.data(),
                                 basis.data(),
                                 bias.data(),
                                 classes,
                                 width,
                                 stages,
                                 levels,
                                 width,
                                 levels * width,
                                 0,
                                 4,
                                 head,
                                 0.5f,
                                 method};
        std::vector<uint8_t> codes((count * stages * 4 + 7) / 8);
        for (uint64_t i = 0; i < count * stages; ++i) {
          WriteIndex(codes.data(), i * 4, 4, static_cast<uint16_t>(random() % levels));
        }
        std::vector<float> expected(count * classes), found(count * classes);
        std::vector<uint16_t> expected_half(count * classes), found_half(count * classes);
        SoftpackDecoder scalar, vector;
        Expect(scalar.Create(kScalarKernels, spec) == kSoftpackOk, "decoder is created");
        Expect(vector.Create(table, spec) == kSoftpackOk, "decoder is created");
        const auto decode = [&](const SoftpackDecoder& decoder, float* out, uint16_t* half,
                                uint32_t threads) {
          return decoder.Decode(
              {codes.data(), codes.size(), nullptr, 0, count, out, half, threads});
        };
        Expect(decode(scalar, expected.data(), nullptr, 1) == kSoftpackOk, "decode returns");
        Expect(decode(scalar, nullptr, expected_half.data(), 1) == kSoftpackOk, "decode returns");
        Expect(decode(vector, found.data(), nullptr, 2) == kSoftpackOk, "decode returns");
        Expect(decode(vector, nullptr, found_half.data(), 2) == kSoftpackOk, "decode returns");
        Expect(SameBytes(expected, found), std::string("decode ") + table.isa);
        Expect(SameBytes(expected_half, found_half), std::string("decode to half ") + table.isa);
        WriteIndex(codes.data(), (100 * stages + 4) * 4, 4, 13);
        Expect(decode(vector, found.data(), nullptr, 2) == kSoftpackInvalidCodes,
               "a wrong index is told");
        const uint32_t beyond = 102;
        Expect(vector.Decode({codes.data(), codes.size(), &beyond, 0, 1, found.data(), nullptr,
                              1}) == kSoftpackInvalidArgument,
               "a label beyond the codes is told");
      }
    }
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

int Run() {
  TestBits();
  TestThreadPool();
  for (const char* const isa : {"scalar", "avx2", "avx512"}) {
    const KernelTable* const table = KernelsNamed(isa);
    if (table == nullptr) {
      std::printf("skipped: %s (this processor has only: %s)\n", isa, AvailableIsas());
      continue;
    }
    TestProject(*table);
    TestEncode(*table);
    TestDecode(*table);
    std::printf("done: %s\n", isa);
  }
  const SoftpackBackend* const backend = SoftpackCpuBackend();
  Expect(backend->abi_version == SOFTPACK_ABI_VERSION && backend->size == sizeof(SoftpackBackend),
         "the table tells its version and size");
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace softpack

int main() { return softpack::Run(); }
