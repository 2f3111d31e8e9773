// One label's row of values v in a warp, and its head, or loss and gradient. The order of every sum
// is the CPU's (kHeadSums of cpu/kernel_table.h), and therefore the bytes are.
//
// Lane l holds columns l, l + 32, l + 64, ... A class adds to partial sum j mod 64: a lane's even
// columns to one, its odd ones to another, 16 additions each at 1,000 classes. The partial sums are
// then added pairwise, i and i + 32 inside a lane, the rest by five shuffles.
#ifndef SOFTPACK_CUDA_ROWS_H_
#define SOFTPACK_CUDA_ROWS_H_

#include "core/backend.h"
#include "core/scalar_math.h"
#include "cuda/element.h"
#include "cuda/platform.h"

namespace softpack {

constexpr int kWarp = 32;
constexpr uint32_t kFullWarp = 0xffffffffu;
// Columns that a lane can hold in registers, which bound the classes of the fused kernels.
constexpr int kLaneColumns = 32;
constexpr int kRegisterClasses = kWarp * kLaneColumns;

struct HeadParams {
  uint32_t kind;    // SoftpackHead
  float parameter;  // eps of clamp, 1 / tau of softmax
};

// Arrays of the labels of one chunk.
struct RowTarget {
  HeadParams head;
  uint64_t classes;
  uint64_t count;
  // decode:
  void* out;          // [count, classes]
  uint32_t out_type;  // SoftpackDtype
  // decode_kl:
  const void* logits;    // [count, classes] of logits_type
  float* losses;         // or null
  void* gradient;        // likewise, or null; may be logits
  uint32_t logits_type;  // SoftpackDtype
  float inverse_tau;
  float gradient_scale;  // scale / tau
  bool entropy;          // whether the loss holds sum_j y_j log y_j
};

// A lane's columns: in registers, or in memory, where it reads and writes no other lane's.
template <bool kInRegisters>
class LaneRow;

template <>
class LaneRow<true> {
 public:
  __device__ LaneRow() {}
  __device__ float Get(int t) const { return values_[t]; }
  __device__ void Set(int t, float value) { values_[t] = value; }

 private:
  float values_[kLaneColumns];
};

template <>
class LaneRow<false> {
 public:
  __device__ explicit LaneRow(float* row) : at_(row + threadIdx.x % kWarp) {}
  __device__ float Get(int t) const { return at_[t * kWarp]; }
  __device__ void Set(int t, float value) { at_[t * kWarp] = value; }

 private:
  float* at_;
};

// Calls `f(t, j)` for each column j of this lane, ascending.
template <bool kInRegisters, class Function>
__device__ __forceinline__ void ForEachColumn(uint64_t classes, const Function& f) {
  const uint32_t lane = threadIdx.x % kWarp;
  if constexpr (kInRegisters) {
#pragma unroll
    for (int t = 0; t < kLaneColumns; ++t) {
      const uint32_t j = t * kWarp + lane;
      if (j < classes) f(t, j);
    }
  } else {
    for (uint64_t j = lane; j < classes; j += kWarp) f(static_cast<int>(j / kWarp), j);
  }
}

// Partial sums of a row.
class ClassSum {
 public:
  __device__ void Add(int t, float value) {
    if (t % 2 == 0)
      even_ += value;
    else
      odd_ += value;
  }
  __device__ void AddProduct(int t, float a, float b) {
    if (t % 2 == 0)
      even_ = fmaf(a, b, even_);
    else
      odd_ = fmaf(a, b, odd_);
  }
  // Sum over all lanes, returned in every lane.
  __device__ float Total() const {
    float sum = even_ + odd_;
#pragma unroll
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
      sum += __shfl_xor_sync(kFullWarp, sum, lanes);
    }
    return sum;
  }

 private:
  float even_ = 0.0f;
  float odd_ = 0.0f;
};

__device__ inline float Greater(float a, float b) { return b > a ? b : a; }

__device__ inline float GreatestOfWarp(float value) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    value = Greater(value, __shfl_xor_sync(kFullWarp, value, lanes));
  }
  return value;
}

template <bool kInRegisters>
__device__ __forceinline__ void FinishRow(const RowTarget& target, uint64_t label,
                                          LaneRow<kInRegisters>& row) {
  const HeadParams head = target.head;
  const uint64_t start = label * target.classes;
  float scale = 1.0f;
  ClassSum sum;
  if (head.kind == kSoftpackHeadClamp) {
    ForEachColumn<kInRegisters>(target.classes, [&](int t, uint64_t) {
      const float value = Greater(head.parameter, row.Get(t));
      row.Set(t, value);
      sum.Add(t, value);
    });
    scale = 1.0f / sum.Total();
  } else if (head.kind == kSoftpackHeadSoftmax) {
    float greatest = -Infinity();
    ForEachColumn<kInRegisters>(target.classes,
                                [&](int t, uint64_t) { greatest = Greater(greatest, row.Get(t)); });
    greatest = GreatestOfWarp(greatest);
    ForEachColumn<kInRegisters>(target.classes, [&](int t, uint64_t) {
      const float value = scalar::Exp((row.Get(t) - greatest) * head.parameter);
      row.Set(t, value);
      sum.Add(t, value);
    });
    scale = 1.0f / sum.Total();
  }
  WithElement(target.out_type, [&](auto element) {
    ForEachColumn<kInRegisters>(target.classes, [&](int t, uint64_t j) {
      element.Store(target.out, start + j, row.Get(t) * scale);
    });
  });
}

// See Kl of cpu/scalar/head_scalar.h. A row in memory takes 2^b again from the logits for the
// gradient: what the loop computes costs less than to write it and to read it.
template <bool kInRegisters>
__device__ __forceinline__ void KlRow(const RowTarget& target, uint64_t label,
                                      LaneRow<kInRegisters>& row) {
  const HeadParams head = target.head;
  const uint64_t start = label * target.classes;
  const bool clamp = head.kind == kSoftpackHeadClamp;
  float greatest_value = -Infinity(), greatest_logit = -Infinity();
  [[maybe_unused]] LaneRow<true> kept;  // logits, then 2^b
  WithElement(target.logits_type, [&](auto element) {
    ForEachColumn<kInRegisters>(target.classes, [&](int t, uint64_t j) {
      const float logit = element.Load(target.logits, start + j);
      if constexpr (kInRegisters) kept.Set(t, logit);
      greatest_logit = Greater(greatest_logit, logit);
    });
  });
  ForEachColumn<kInRegisters>(target.classes, [&](int t, uint64_t) {
    greatest_value = Greater(greatest_value, row.Get(t));
  });
  greatest_logit = GreatestOfWarp(greatest_logit);
  greatest_value = clamp ? 0.0f : GreatestOfWarp(greatest_value);
  ClassSum z, entropy, mixed, partition;
  const float factor = target.inverse_tau * scalar::kLog2E;
  const float head_factor = head.parameter * scalar::kLog2E;
  const auto add = [&](int t, float logit) {
    float w, log_w = 0.0f;
    if (clamp) {
      w = Greater(head.parameter, row.Get(t));
      if (target.entropy) log_w = scalar::Log2Of1024(w);
    } else {
      log_w = (row.Get(t) - greatest_value) * head_factor;
      w = scalar::Exp2(log_w);
    }
    const float b = (logit - greatest_logit) * factor;
    const float e = scalar::Exp2(b);
    row.Set(t, w);
    if constexpr (kInRegisters) kept.Set(t, e);
    z.Add(t, w);
    partition.Add(t, e);
    mixed.AddProduct(t, w, b);
    if (target.entropy) entropy.AddProduct(t, w, log_w);
  };
  if constexpr (kInRegisters) {
    ForEachColumn<true>(target.classes, [&](int t, uint64_t) { add(t, kept.Get(t)); });
  } else {
    WithElement(target.logits_type, [&](auto element) {
      ForEachColumn<false>(target.classes, [&](int t, uint64_t j) {
        add(t, element.Load(target.logits, start + j));
      });
    });
  }
  // All lanes take part in every total.
  const scalar::KlSums sums{z.Total(), entropy.Total(), partition.Total(), mixed.Total()};
  if (target.losses != nullptr && threadIdx.x % kWarp == 0) {
    const float unit = scalar::KlUnit(clamp, target.entropy);
    target.losses[label] = scalar::KlLoss(sums, target.entropy, scalar::Log(sums.total),
                                          scalar::Log(sums.partition * unit));
  }
  if (target.gradient == nullptr) return;
  const float student_scale = target.gradient_scale / sums.partition;
  const float label_scale = target.gradient_scale / sums.total;
  WithElement(target.logits_type, [&](auto element) {
    ForEachColumn<kInRegisters>(target.classes, [&](int t, uint64_t j) {
      float e;
      if constexpr (kInRegisters) {
        e = kept.Get(t);
      } else {
        const float logit = element.Load(target.logits, start + j);
        e = scalar::Exp2((logit - greatest_logit) * factor);
      }
      element.Store(target.gradient, start + j,
                    fmaf(e, student_scale, -(row.Get(t) * label_scale)));
    });
  });
}

enum class RowUse { kDecode, kKl };

template <RowUse kUse, bool kInRegisters>
__device__ __forceinline__ void UseRow(const RowTarget& target, uint64_t label,
                                       LaneRow<kInRegisters>& row) {
  if constexpr (kUse == RowUse::kDecode)
    FinishRow<kInRegisters>(target, label, row);
  else
    KlRow<kInRegisters>(target, label, row);
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_ROWS_H_
