// Tests of the emulation itself: correct kernels pass and faulty ones are found; and of the headers
// that kernels share with the host.
//   cuda_emulation_test              correct kernels give the right sums
//   cuda_emulation_test race         a kernel without its barrier: the thread sanitizer must object
//   cuda_emulation_test block-race   two blocks that write one element: likewise
//   cuda_emulation_test layout       the tests of cuda_layout_test.cc
//   cuda_emulation_test packing      those of cuda_packing_test.cc
//   cuda_emulation_test hopper [n]   those of cuda_hopper_test.h, with the n-th fault
//   cuda_emulation_test diverge      a barrier that half of a block never reaches: must stop
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cuda/platform.h"
#include "cuda_hopper_test.h"
#include "cuda_layout_test.h"

namespace softpack {
namespace {

struct SumParams {
  const float* values;
  float* sums;  // one a block
  bool barrier;
};

// Sums 64 values per block through shared memory and by shuffles.
__global__ void SumKernel(SumParams params) {
  float* const shared = SharedMemory<float>();
  const unsigned thread = threadIdx.x;
  shared[thread] = params.values[blockIdx.x * blockDim.x + thread];
  if (params.barrier) __syncthreads();
  // Written by another warp.
  float sum = shared[blockDim.x - 1 - thread];
  for (unsigned lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
  __syncthreads();
  if (thread % 32 == 0) shared[thread / 32] = sum;
  __syncthreads();
  if (thread == 0) params.sums[blockIdx.x] = shared[0] + shared[1];
}

__global__ void OverlapKernel(float* out) { out[(blockIdx.x + threadIdx.x) % 32] = 1; }

__global__ void DivergeKernel(int half) {
  if (threadIdx.x < static_cast<unsigned>(half)) __syncthreads();
}

int Sum(bool barrier) {
  constexpr unsigned kBlocks = 3, kThreads = 64;
  std::vector<float> values(kBlocks * kThreads), sums(kBlocks);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const SumParams params = {values.data(), sums.data(), barrier};
  Launch(SumKernel, {kBlocks, kThreads, kThreads * sizeof(float)}, nullptr, params);
  int wrong = 0;
  for (unsigned block = 0; block < kBlocks; ++block) {
    const float expected = (2.0f * block * kThreads + kThreads - 1) * kThreads / 2;
    if (sums[block] != expected) ++wrong;
  }
  std::printf("%d wrong sums\n", wrong);
  return barrier && wrong > 0 ? 1 : 0;
}

}  // namespace
}  // namespace softpack

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "diverge") softpack::Launch(softpack::DivergeKernel, {1, 64}, nullptr, 32);
  if (what == "layout") return softpack::TestLayouts();
  if (what == "packing") return softpack::TestPacking();
  if (what == "hopper") {
    const int fault = argc > 2 ? std::atoi(argv[2]) : 0;
    return softpack::TestHopper(static_cast<softpack::HopperFault>(fault));
  }
  if (what == "block-race") {
    std::vector<float> out(32);
    softpack::Launch(softpack::OverlapKernel, {2, 32}, nullptr, out.data());
  }
  return softpack::Sum(what != "race");
}
