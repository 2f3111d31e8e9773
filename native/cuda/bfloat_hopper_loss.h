// Losses and gradients of version 2 of `bfloat` from its sums: see Kl of
// cpu/scalar/head_scalar.h, whose powers and logarithms here are approximate.h's.
//
// Registers hold v, then w. Logits pass twice: for the sums, each thread with a reference of its
// own for a row, the greatest logit or less, so that one read is enough; and for the gradient, with
// the row's reference. The blocks of a row exchange four sums in between, and add them in the order
// of the columns' tiles: the same call gives the same bytes.
//
// Counted per tile of 128 labels by 256 classes, clamp and entropy, in float32: 4,000 instructions
// of a warp (2.7 a sum to clamp, 3.1 for its logarithm, 10.8 for the sums of the loss, 9.4 for the
// gradient, and 600), 8,000 issue slots of a scheduler's two warps, against 21,500 cycles of the
// product; 4,400 with softmax, 4,600 with logits in bfloat16 and 5,300 in float16, whose gradient
// keeps what NaN says. Beside them 3 powers or logarithms a sum, 6,100 cycles of the special
// function units; 256 kB of logits from L2, 6,200 cycles if all multiprocessors read at once, at 42
// bytes a cycle each; and the latency of an exchange. Logits come to L2 while the products run
// (bfloat_hopper_logits.h).
#ifndef SOFTPACK_CUDA_BFLOAT_HOPPER_LOSS_H_
#define SOFTPACK_CUDA_BFLOAT_HOPPER_LOSS_H_

#include <cmath>

#include "core/scalar_math.h"
#include "cuda/approximate.h"
#include "cuda/bfloat_hopper_logits.h"

#ifdef SOFTPACK_HOPPER

namespace softpack {
namespace hopper {

// The reference of a row without a greater logit.
constexpr float kLowest = -3.402823466e38f;
// How far logits may exceed their row's reference, in doublings of their powers, before it is
// raised: seldom, and rounding of what the sum of w b then has more costs some 1e-6 of a loss.
constexpr float kSlack = 16.0f;

// Of each row: sum w t, sum w, sum 2^b and sum w b with b = (l - reference) / (tau ln 2).
struct LossSums {
  const float factor;  // 1 / (tau ln 2)
  float entropy[kRows] = {};
  float total[kRows] = {};
  float partition[kRows] = {};
  float mixed[kRows] = {};
  float reference[kRows];

  __device__ explicit LossSums(float factor_) : factor(factor_) {}

  // `reference` to a greater one.
  __device__ __forceinline__ void Raise(int r, float to) {
    const float shift = (reference[r] - to) * factor;
    partition[r] *= ApproximateExp2(shift);
    if (total[r] > 0.0f) mixed[r] = fmaf(shift, total[r], mixed[r]);
    reference[r] = to;
  }
};

// Calls use(value, r, is_class) for all sums; what they are beyond the classes is not asked for.
template <class Use>
__device__ __forceinline__ void ForEachSum(const ClassesOfLane& classes,
                                           float (&sums)[kProductSums], const Use& use) {
#pragma unroll
  for (int f = 0; f < kFours; ++f) {
    const auto four = [&](auto whole) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool is_class = decltype(whole)::value || classes.Has(f, i);
#pragma unroll
        for (int r = 0; r < kRows; ++r) use(sums[SumAt(f, r, i)], r, is_class);
      }
    };
    if (classes.Whole(f))
      four(std::true_type());
    else
      four(std::false_type());
  }
}

// From v to w, the label before it is divided by its sum, and 0 where there is no class.
__device__ __forceinline__ void TakeNumerators(const Params& params, const ClassesOfLane& classes,
                                               uint32_t row, Exchange& exchange,
                                               float (&sums)[kProductSums], LossSums& of_rows) {
  const HeadParams head = params.target.head;
  if (head.kind == kSoftpackHeadClamp) {
    ForEachSum(classes, sums, [&](float& value, int, bool is_class) {
      value = is_class ? Greater(head.parameter, value) : 0.0f;
    });
    if (!params.target.entropy) return;
#pragma unroll
    for (int at = 0; at < kProductSums; ++at) {
      float& entropy = of_rows.entropy[RowOfSum(at)];
      entropy = fmaf(sums[at], ApproximateLog2Of1024(sums[at]), entropy);
    }
    return;
  }
  float greatest[kRows] = {-Infinity(), -Infinity()};
  ForEachSum(classes, sums, [&](float value, int r, bool is_class) {
    if (is_class) greatest[r] = Greater(greatest[r], value);
  });
  exchange.Total(greatest, row, Most());
  const float factor = head.parameter * scalar::kLog2E;
  ForEachSum(classes, sums, [&](float& value, int r, bool is_class) {
    const float t = (value - greatest[r]) * factor, w = ApproximateExp2(t);
    value = is_class ? w : 0.0f;
    of_rows.entropy[r] = fmaf(value, t, of_rows.entropy[r]);
  });
}

// Adds a four of logits up; `slack`: kSlack in logits.
template <bool kWhole>
__device__ __forceinline__ void AddFour(const ClassesOfLane& classes, int f, int r, float slack,
                                        const float (&logits)[4], const float (&sums)[kProductSums],
                                        LossSums& of_rows) {
  float most = -Infinity();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (kWhole || classes.Has(f, i)) most = fmaxf(most, logits[i]);
  }
  if (f == 0) {
    of_rows.reference[r] = fmaxf(most, kLowest);
  } else if (most > of_rows.reference[r] + slack) {
    of_rows.Raise(r, most);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float w = sums[SumAt(f, r, i)];
    const float b = (logits[i] - of_rows.reference[r]) * of_rows.factor;
    const float e = ApproximateExp2(b);
    of_rows.total[r] += w;
    of_rows.mixed[r] = fmaf(w, b, of_rows.mixed[r]);
    if (kWhole || classes.Has(f, i)) of_rows.partition[r] += e;
  }
}

// What a row's gradient takes, and its loss.
struct RowLoss {
  float reference;
  float partition;
  float total;
  float difference;  // entropy, if the loss holds it, - mixed
};

// Totals of whole rows, in the order of the columns' tiles.
__device__ __forceinline__ void ExchangeLosses(const Params& params, uint32_t row,
                                               Exchange& exchange, LossSums& of_rows,
                                               RowLoss (&losses)[kRows]) {
  enum { kReference, kPartition, kTotal, kDifference };
  float parts[kLossQuantities][kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) parts[kReference][r] = of_rows.reference[r];
  CombineQuad(parts[kReference], Most());
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    of_rows.Raise(r, parts[kReference][r]);
    parts[kPartition][r] = of_rows.partition[r];
    parts[kTotal][r] = of_rows.total[r];
    parts[kDifference][r] = (params.target.entropy ? of_rows.entropy[r] : 0.0f) - of_rows.mixed[r];
  }
  for (const int q : {kPartition, kTotal, kDifference}) CombineQuad(parts[q], Plus());
  const float* const received = exchange.Trade(parts, row);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const auto part = [&](uint32_t quantity, uint32_t column) {
      return received[Exchange::PartOf(quantity, column, row + 8 * r)];
    };
    float reference = part(kReference, 0);
#pragma unroll 1
    for (uint32_t column = 1; column < exchange.columns(); ++column) {
      reference = Greater(reference, part(kReference, column));
    }
    RowLoss loss = {reference, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
    for (uint32_t column = 0; column < exchange.columns(); ++column) {
      const float shift = (part(kReference, column) - reference) * of_rows.factor;
      const float total = part(kTotal, column);
      loss.partition = fmaf(part(kPartition, column), ApproximateExp2(shift), loss.partition);
      loss.total += total;
      loss.difference += part(kDifference, column);
      if (total > 0.0f) loss.difference = fmaf(-shift, total, loss.difference);
    }
    // As with the greatest logit for a reference: all powers of a row that has infinity are the
    // least, and nothing is known of one that is nothing but -infinity.
    if (reference == Infinity()) {
      loss.partition = static_cast<float>(params.shape.classes) * ApproximateExp2(-Infinity());
    } else if (reference == kLowest && loss.difference == Infinity()) {
      loss.difference = Infinity() - Infinity();
    }
    losses[r] = loss;
  }
}

__device__ __forceinline__ void WriteRowLosses(const RowTarget& target, uint64_t label,
                                               const RowLoss (&losses)[kRows]) {
  const float unit = scalar::KlUnit(target.head.kind == kSoftpackHeadClamp, target.entropy);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (label + 8 * r >= target.count) continue;
    const RowLoss& loss = losses[r];
    target.losses[label + 8 * r] =
        scalar::KlLoss({loss.total, 0.0f, loss.partition, -loss.difference}, target.entropy,
                       scalar::Log(loss.total), scalar::Log(loss.partition * unit));
  }
}

template <class Rows>
__device__ __forceinline__ void WriteGradients(const Params& params, const Rows& rows, float factor,
                                               const float (&sums)[kProductSums],
                                               const RowLoss (&losses)[kRows]) {
  float of_student[kRows], of_label[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    of_student[r] = params.target.gradient_scale / losses[r].partition;
    of_label[r] = params.target.gradient_scale / losses[r].total;
  }
  ForEachFour<true>(rows, [&](int f, int r, const float (&logits)[4], auto) {
    float four[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float e = ApproximateExp2((logits[i] - losses[r].reference) * factor);
      four[i] = fmaf(e, of_student[r], -(sums[SumAt(f, r, i)] * of_label[r]));
    }
    rows.Write(f, r, four);
  });
}

// From the products of a tile to losses and gradients.
template <class Element>
class LossUse {
 public:
  __device__ LossUse(const Params& params, const Block& block)
      : params_(params),
        block_(block),
        exchange_(params, block),
        factor_(params.target.inverse_tau * scalar::kLog2E),
        slack_(kSlack / factor_) {}

  __device__ __forceinline__ void operator()(uint32_t row, uint64_t label,
                                             float (&sums)[kProductSums]) {
    LossSums of_rows(factor_);
    TakeNumerators(params_, ClassesOfLane(params_, block_), row, exchange_, sums, of_rows);
    if (RowsAligned<typename Element::Type>(params_))
      UseLogits<true>(row, label, sums, of_rows);
    else
      UseLogits<false>(row, label, sums, of_rows);
  }

 private:
  template <bool kAligned>
  __device__ __forceinline__ void UseLogits(uint32_t row, uint64_t label,
                                            const float (&sums)[kProductSums], LossSums& of_rows) {
    const RowTarget& target = params_.target;
    const LogitRows<Element, kAligned> rows(params_, block_, label);
    ForEachFour<false>(rows, [&](int f, int r, const float (&logits)[4], auto whole) {
      AddFour<decltype(whole)::value>(rows.classes, f, r, slack_, logits, sums, of_rows);
    });
    RowLoss losses[kRows];
    ExchangeLosses(params_, row, exchange_, of_rows, losses);
    if (target.losses != nullptr && block_.column() == 0 && threadIdx.x % 4 == 0) {
      WriteRowLosses(target, label, losses);
    }
    if (target.gradient != nullptr) WriteGradients(params_, rows, of_rows.factor, sums, losses);
  }

  const Params& params_;
  const Block& block_;
  Exchange exchange_;
  const float factor_;
  const float slack_;
};

}  // namespace hopper
}  // namespace softpack

#endif

#endif  // SOFTPACK_CUDA_BFLOAT_HOPPER_LOSS_H_
