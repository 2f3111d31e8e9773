// Ceilings of one processor, or of all at once: arithmetic from registers, reads from each level of
// memory, stores. Prints one line "name value" each; arithmetic in GFLOP/s, memory in GB/s, per thread.
//
// Compiled on the fly for the machine it runs on: ceilings.mjs. Data are never zeros: processors are faster on them.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#if defined(__AVX512F__) || defined(__AMX_BF16__)
#include <immintrin.h>
#endif
#if defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#else
constexpr int kVectorBytes = 32;
#endif
using Floats = float __attribute__((vector_size(kVectorBytes)));
using Words = int16_t __attribute__((vector_size(kVectorBytes)));
constexpr int kFloats = kVectorBytes / 4;

constexpr int kRuns = 60;

// Work per second of the fastest of several runs. `run` returns its amount of work.
double Best(const std::function<double()>& run) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int i = 0; i < kRuns; ++i) {
    const auto begin = Clock::now();
    const double work = run();
    const std::chrono::duration<double> seconds = Clock::now() - begin;
    best = std::max(best, work / seconds.count());
  }
  return best;
}

template <typename T>
void Keep(T& value) {
  asm volatile("" : "+m"(value) : : "memory");
}

double FloatPeak() {
  constexpr int kChains = 12;
  constexpr int kSteps = 300000;
  return Best([] {
    Floats sums[kChains], a, b;
    for (int i = 0; i < kFloats; ++i) {
      a[i] = 0.999f + 1e-5f * i;
      b[i] = 0.001f * (i + 1);
    }
    Keep(a);
    Keep(b);
    for (Floats& sum : sums) sum = b;
    for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
      for (int i = 0; i < kChains; ++i) sums[i] = sums[i] * a + b;
    }
    for (Floats& sum : sums) Keep(sum);
    return 2.0 * kFloats * kChains * kSteps;
  });
}

#if defined(__AVX512BF16__)
double BfloatPeak() {
  constexpr int kChains = 12;
  constexpr int kSteps = 300000;
  return Best([] {
    __m512 sums[kChains];
    alignas(64) uint16_t values[32];
    for (int i = 0; i < 32; ++i) values[i] = static_cast<uint16_t>(0x3a00 + 37 * i);
    Keep(values);
    const __m512bh a = reinterpret_cast<__m512bh&>(*reinterpret_cast<__m512i*>(values));
    for (__m512& sum : sums) sum = _mm512_set1_ps(0.5f);
    for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
      for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
    }
    for (__m512& sum : sums) Keep(sum);
    return 2.0 * 32 * kChains * kSteps;
  });
}
#endif

#if defined(__AMX_BF16__) && defined(__linux__)
// Two by two tiles of 16 x 16 from operands in the first-level cache.
double TilePeak() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return 0;
  struct alignas(64) Configuration {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  _tile_loadconfig(&configuration);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  alignas(64) static uint16_t operands[4][512];
  for (auto& tile : operands) {
    for (uint16_t& value : tile) {
      const float drawn = normal(random);
      uint32_t bits;
      __builtin_memcpy(&bits, &drawn, 4);
      value = static_cast<uint16_t>(bits >> 16);
    }
  }
  constexpr int kSteps = 60000;
  const double peak = Best([] {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int step = 0; step < kSteps; ++step) {
      _tile_loadd(4, operands[0], 64);
      _tile_loadd(5, operands[1], 64);
      _tile_loadd(6, operands[2], 64);
      _tile_loadd(7, operands[3], 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    return 4.0 * 2 * 16 * 16 * 32 * kSteps;
  });
  _tile_release();
  return peak;
}
#endif

struct Buffer {
  explicit Buffer(size_t bytes) : bytes(bytes) {
    data = static_cast<uint8_t*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (data == MAP_FAILED) std::abort();
#if defined(MADV_HUGEPAGE)
    madvise(data, bytes, MADV_HUGEPAGE);
#endif
    for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(31 * i + (i >> 7));
  }
  ~Buffer() { munmap(data, bytes); }
  uint8_t* data;
  size_t bytes;
};

// Sums of 16-bit words, as table rows are added: a load and an addition each.
double ReadRate(size_t bytes) {
  constexpr size_t kStep = 8 * kVectorBytes;
  bytes = std::max(bytes / kStep, size_t{1}) * kStep;
  const Buffer buffer(bytes);
  const size_t passes = std::max<size_t>(1, (size_t{32} << 20) / bytes);
  return Best([&] {
    Words sums[8] = {};
    for (size_t pass = 0; pass < passes; ++pass) {
      for (size_t at = 0; at < bytes; at += kStep) {
        const Words* words = reinterpret_cast<const Words*>(buffer.data + at);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) sums[i] += words[i];
      }
      asm volatile("" : : "r"(buffer.data) : "memory");
    }
    // Only the total is kept: an address taken of `sums` itself would keep them in memory.
    Words total = {};
    for (const Words& sum : sums) total += sum;
    Keep(total);
    return static_cast<double>(passes * bytes);
  });
}

// Stores that bypass the caches where the processor has them.
double StoreRate(size_t bytes) {
  const Buffer buffer(bytes);
  return Best([&] {
#if defined(__AVX512F__)
    const __m512i value = _mm512_set1_epi32(0x3a83126f);
    for (size_t at = 0; at < bytes; at += 64) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(buffer.data + at), value);
    }
    _mm_sfence();
#else
    Words value;
    for (int i = 0; i < kVectorBytes / 2; ++i) value[i] = 0x3a83;
    for (size_t at = 0; at < bytes; at += kVectorBytes) {
      *reinterpret_cast<Words*>(buffer.data + at) = value;
    }
    asm volatile("" : : : "memory");
#endif
    return static_cast<double>(bytes);
  });
}

// The mean over threads that all run `measure` at once.
double OnAll(int threads, const std::function<double()>& measure) {
  std::vector<double> rates(threads);
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back([&, i] { rates[i] = measure(); });
  rates[0] = measure();
  for (std::thread& other : others) other.join();
  double sum = 0;
  for (double rate : rates) sum += rate;
  return sum / threads / 1e9;
}

}  // namespace

// Arguments: threads, bytes of the first, second and third-level cache.
int main(int count, char** arguments) {
  if (count != 5) return 2;
  const int threads = std::atoi(arguments[1]);
  const size_t l1 = std::stoull(arguments[2]);
  const size_t l2 = std::stoull(arguments[3]);
  const size_t l3 = std::stoull(arguments[4]);
  const auto print = [&](const char* name, const std::function<double()>& measure) {
    std::printf("%s %.4g\n", name, OnAll(threads, measure));
  };
  print("float32", FloatPeak);
#if defined(__AVX512BF16__)
  print("bfloat16", BfloatPeak);
#endif
#if defined(__AMX_BF16__) && defined(__linux__)
  print("amx", TilePeak);
#endif
  print("L1", [=] { return ReadRate(l1 / 2); });
  print("L2", [=] { return ReadRate(l2 / 2); });
  // Less than the share of one thread: other data need space, too.
  print("L3", [=] { return ReadRate(l3 / 4 / threads); });
  print("memory", [] { return ReadRate(size_t{128} << 20); });
  print("stores", [] { return StoreRate(size_t{128} << 20); });
  return 0;
}
