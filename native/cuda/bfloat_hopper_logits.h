// The student's logits in version 2 of `bfloat`: how they come to a thread, four adjacent ones at a
// time, and the gradient goes where they were.
#ifndef SOFTPACK_CUDA_BFLOAT_HOPPER_LOGITS_H_
#define SOFTPACK_CUDA_BFLOAT_HOPPER_LOGITS_H_

#include <type_traits>

#include "cuda/bfloat_hopper_rows.h"

#ifdef SOFTPACK_HOPPER

namespace softpack {
namespace hopper {

// Fours of each row that are on their way from L2 while one is used: some 200 issue slots of a
// scheduler's two warps each.
constexpr int kAhead = 2;

// Which of a thread's classes exist: of four f of a block's sixteen either all lanes' are there,
// which needs no comparisons, or each is compared.
class ClassesOfLane {
 public:
  __device__ ClassesOfLane(const Params& params, const Block& block)
      : classes_(ClassesHere(params, block)),
        left_(classes_ > FirstOfLane() ? classes_ - FirstOfLane() : 0) {}

  static __device__ __forceinline__ uint32_t FirstOfLane() { return threadIdx.x % 4 * 4; }
  __device__ __forceinline__ bool Whole(int f) const {
    return static_cast<uint32_t>((f + 1) * kFourStep) <= classes_;
  }
  __device__ __forceinline__ bool Any(int f) const {
    return static_cast<uint32_t>(f * kFourStep) < classes_;
  }
  __device__ __forceinline__ bool Has(int f, int i) const {
    return static_cast<uint32_t>(f * kFourStep + i) < left_;
  }

 private:
  uint32_t classes_;  // of the block
  uint32_t left_;     // from the lane's first
};

// Logits of a thread's rows, and its places in the gradient. A row beyond the labels has none.
// Rows of fours are aligned, and have as many classes as fours.
template <class Element, bool kAligned>
class LogitRows {
 public:
  using Type = typename Element::Type;
  using Four = typename Element::Four;

  __device__ LogitRows(const Params& params, const Block& block, uint64_t label)
      : classes(params, block), step_(8 * params.shape.classes) {
    const uint64_t start =
        label * params.shape.classes + block.column() * kTileClasses + ClassesOfLane::FirstOfLane();
    logits_ = static_cast<const Type*>(params.target.logits) + start;
    gradient_ = static_cast<Type*>(params.target.gradient) + start;
#pragma unroll
    for (int r = 0; r < kRows; ++r) exists_[r] = label + 8 * r < params.target.count;
  }

  static constexpr bool kFours = kAligned;
  static __device__ __forceinline__ void Split(const Four& four, float (&logits)[4]) {
    Element::SplitFour(four, logits);
  }

  // Zeros where there is nothing.
  template <bool kLast>
  __device__ __forceinline__ Four Read(int f, int r) const {
    const Type* const from = logits_ + r * step_ + f * kFourStep;
    if constexpr (kAligned) {
      Four four = {};
      if (exists_[r] && classes.Has(f, 0)) {
        four = kLast ? Element::LastFour(from) : Element::LoadFour(from);
      }
      return four;
    } else {
      Type four[4] = {};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (exists_[r] && classes.Has(f, i)) four[i] = from[i];
      }
      return Element::JoinFour(four);
    }
  }

  __device__ __forceinline__ void Write(int f, int r, const float (&four)[4]) const {
    Type* const to = gradient_ + r * step_ + f * kFourStep;
    if constexpr (kAligned) {
      if (exists_[r] && classes.Has(f, 0)) Element::StreamFour(to, four);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (exists_[r] && classes.Has(f, i)) Element::Store(to, i, four[i]);
      }
    }
  }

  const ClassesOfLane classes;

 private:
  const Type* logits_;
  Type* gradient_;
  uint32_t step_;  // from one row to the next
  bool exists_[kRows];
};

template <class Type>
__device__ __forceinline__ bool RowsAligned(const Params& params) {
  const auto aligned = [](const void* array) {
    return reinterpret_cast<uintptr_t>(array) % (4 * sizeof(Type)) == 0;
  };
  return params.shape.classes % 4 == 0 && aligned(params.target.logits) &&
         aligned(params.target.gradient);
}

// Calls use(f, r, logits, whole) for all fours that may have classes; their logits are kAhead fours
// on their way.
template <bool kLast, class Rows, class Use>
__device__ __forceinline__ void ForEachFour(const Rows& rows, const Use& use) {
  typename Rows::Four fours[kAhead][kRows];
#pragma unroll
  for (int f = 0; f < kAhead; ++f) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) fours[f][r] = rows.template Read<kLast>(f, r);
  }
#pragma unroll
  for (int f = 0; f < kFours; ++f) {
    const auto both = [&](auto whole) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float logits[4];
        Rows::Split(fours[f % kAhead][r], logits);
        if (f + kAhead < kFours) {
          fours[f % kAhead][r] = rows.template Read<kLast>(f + kAhead, r);
        }
        use(f, r, logits, whole);
      }
    };
    if (Rows::kFours && rows.classes.Whole(f))
      both(std::true_type());
    else if (rows.classes.Any(f))
      both(std::false_type());
  }
}

// Has the logits of a tile of labels brought to L2 while its products are made: a block a share of
// them for every tile of the basis.
template <class Element>
struct LogitsAhead {
  const Params& params;

  __device__ __forceinline__ void operator()(const Block& block, const Schedule& schedule,
                                             uint32_t k) const {
    constexpr uint32_t kSize = sizeof(typename Element::Type);
    const Shape& shape = params.shape;
    const uint32_t bytes = schedule.labels_read() * shape.classes * kSize;
    const uint32_t shares = shape.columns() * shape.depth();
    const uint32_t share = RoundUp16((bytes + shares - 1) / shares);
    const uint32_t from = (block.column() * shape.depth() + k) * share;
    // Logits may begin anywhere: what lies before the first 16 aligned bytes comes with the rest.
    const uintptr_t first = reinterpret_cast<uintptr_t>(params.target.logits) +
                            schedule.first_read() * shape.classes * kSize;
    const uint32_t skipped = static_cast<uint32_t>(-first & 15u);
    const uint32_t whole = bytes > skipped ? (bytes - skipped) & ~15u : 0;
    if (from >= whole) return;
    PrefetchBulk(reinterpret_cast<const void*>(first + skipped + from),
                 share < whole - from ? share : whole - from);
  }
};

}  // namespace hopper
}  // namespace softpack

#endif

#endif  // SOFTPACK_CUDA_BFLOAT_HOPPER_LOGITS_H_
