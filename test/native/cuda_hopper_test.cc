#include "cuda_hopper_test.h"

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "core/scalar_math.h"
#include "cuda/bfloat_pack.h"
#include "cuda/hopper.h"
#include "cuda/tensor_core.h"

namespace softpack {
namespace {

constexpr int kRows = 64, kDepth = static_cast<int>(hopper::kTileDepth);
constexpr int kThreads = 2 * kWarpgroup;
constexpr unsigned kBlocks = 2;

// Two tiles one after the other through one place, each half of them copied by one of two blocks to
// both; a warpgroup of each block multiplies its own rows by them.
struct TestParams {
  const uint16_t* a;      // [blocks, 2, kRows, kDepth]
  const uint16_t* tiles;  // [2, kTileElements]
  float* out;             // [blocks, kRows, kTileClasses]
  HopperFault fault;
};

struct TestShared {
  unsigned char* tile = SwizzledSharedMemory();
  uint64_t* full = reinterpret_cast<uint64_t*>(tile + hopper::kTileBytes);
  uint64_t* empty = full + 1;
};
constexpr size_t kTestBytes = hopper::kTileBytes + 16;

void ProduceTest(const TestParams& params, const TestShared& shared) {
  const unsigned rank = ClusterRank(), half = hopper::kTileBytes / kBlocks;
  for (uint32_t k = 0; k < 2; ++k) {
    if (params.fault != HopperFault::kEarlyCopy) AwaitPhase(shared.empty, (k & 1) ^ 1);
    const uint32_t bytes = params.fault == HopperFault::kWrongBytes ? half : hopper::kTileBytes;
    ArriveExpecting(shared.full, bytes);
    CopyBulkToBlocks(shared.tile + rank * half,
                     params.tiles + k * hopper::kTileElements + rank * half / 2, half, shared.full,
                     3);
  }
}

void ConsumeTest(const TestParams& params, const TestShared& shared) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const bool late_fence = params.fault == HopperFault::kNoFence;
  float sums[kProductSums] = {};
  uint32_t words[4][4];
  for (uint32_t k = 0; k < 2; ++k) {
    const uint16_t* const a = params.a + (ClusterRank() * 2 + k) * kRows * kDepth;
    for (int step = 0; step < 4; ++step) {
      for (int i = 0; i < 4; ++i) {
        const FragmentPlace place = PlaceInA(lane, i);
        std::memcpy(&words[step][i],
                    a + (thread / 32 * 16 + place.row) * kDepth + step * 16 + place.column, 4);
      }
    }
    if (params.fault != HopperFault::kNoWait) AwaitPhase(shared.full, k & 1);
    uint64_t tile = SwizzledDescriptor(SharedAddress(shared.tile));
    if (params.fault == HopperFault::kOtherSwizzle) tile ^= 3ull << 62;
    if (params.fault == HopperFault::kOtherStride) tile ^= 96ull << 32;
    if (!late_fence) FenceProducts();
    for (int step = 0; step < 4; ++step) MultiplyWarpgroup(words[step], tile + step * 2, sums);
    CommitProducts();
    if (params.fault == HopperFault::kEarlySums) sums[5] += 1.0f;
    if (params.fault == HopperFault::kEarlyWords) words[2][1] ^= 1;
    const bool early = params.fault == HopperFault::kEarlyFree && k == 0;
    if (!early) AwaitProducts<0>();
    if (lane < 2) ArriveAt(shared.empty, static_cast<unsigned>(lane));
    if (early) {
      AwaitPhase(shared.full, 1);
      AwaitProducts<0>();
    }
  }
  for (int i = 0; i < kProductSums; ++i) {
    const FragmentPlace place = PlaceInSums(lane, i % 4);
    params.out[(ClusterRank() * kRows + static_cast<unsigned>(thread / 32 * 16 + place.row)) *
                   kProductColumns +
               static_cast<unsigned>(i / 4 * 8 + place.column)] = sums[i];
  }
}

void TestKernel(TestParams params) {
  const TestShared shared;
  if (threadIdx.x == 0) {
    InitBarrier(shared.full, 1);
    InitBarrier(shared.empty, kBlocks * kWarpgroup / 32);
    if (params.fault != HopperFault::kUnpublished) PublishBarriers();
  }
  ClusterSync();
  if (threadIdx.x < kWarpgroup) {
    ConsumeTest(params, shared);
  } else if (threadIdx.x == kWarpgroup) {
    ProduceTest(params, shared);
  }
  if (params.fault != HopperFault::kNoEndBarrier) ClusterSync();
}

}  // namespace

int TestHopper(HopperFault fault) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  // B as a plain matrix, and as tiles; both of numbers that bfloat16 holds.
  std::vector<uint16_t> a(kBlocks * 2 * kRows * kDepth), tiles(2 * hopper::kTileElements);
  std::vector<float> b(tiles.size());
  const auto value = [](uint16_t bits) {
    return scalar::FloatOf(static_cast<uint32_t>(bits) << 16);
  };
  for (uint16_t& element : a) element = scalar::FloatToBfloat(normal(random));
  for (uint32_t k = 0; k < 2; ++k) {
    for (uint32_t row = 0; row < hopper::kTileClasses; ++row) {
      for (uint32_t element = 0; element < hopper::kTileDepth; ++element) {
        const uint16_t bits = scalar::FloatToBfloat(normal(random));
        tiles[k * hopper::kTileElements + hopper::TilePosition(row, element)] = bits;
        b[(k * hopper::kTileClasses + row) * hopper::kTileDepth + element] = value(bits);
      }
    }
  }
  std::vector<float> out(kBlocks * kRows * hopper::kTileClasses);
  Launch(TestKernel, {kBlocks, kThreads, kTestBytes, kBlocks}, nullptr,
         {a.data(), tiles.data(), out.data(), fault});
  int wrong = 0;
  for (uint32_t block = 0; block < kBlocks; ++block) {
    for (int row = 0; row < kRows; ++row) {
      for (uint32_t column = 0; column < hopper::kTileClasses; ++column) {
        double expected = 0;
        for (uint32_t k = 0; k < 2; ++k) {
          for (int element = 0; element < kDepth; ++element) {
            expected += value(a[((block * 2 + k) * kRows + row) * kDepth + element]) *
                        b[(k * hopper::kTileClasses + column) * kDepth + element];
          }
        }
        const float found = out[(block * kRows + row) * hopper::kTileClasses + column];
        if (!(std::fabs(found - expected) < 1e-4)) ++wrong;
      }
    }
  }
  std::printf("%d wrong sums of a warpgroup\n", wrong);
  return wrong == 0 ? 0 : 1;
}

}  // namespace softpack
