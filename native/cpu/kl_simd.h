// The loss and its gradient (Kl of scalar/head_scalar.h) over the vectors of a simd_<isa>.h;
// included by kernels_simd.h.
//
// Three passes over a row in L1: label and its sums, student and its sums, gradient. A vector of
// columns takes 38 operations besides loads and stores, 18 of them multiply-adds or products
// (counted): 0.33 us for 1,000 classes where two of AVX-512 begin a cycle at 3.6 GHz; 0.47 us
// measured, and 0.49 us with logits and gradient in memory (AMD EPYC 25-17, 2026-11-30), as the
// next row's logits are fetched meanwhile.

SOFTPACK_INLINE Vec Exp2(Vec x) {
  x = Greater(x, Broadcast(-125.0f));
  const Vec n = Rounded(x);
  const Vec f = Subtract(x, n);
  Vec sum = Broadcast(1.535336196e-04f);
  sum = Fma(sum, f, Broadcast(1.339887502e-03f));
  sum = Fma(sum, f, Broadcast(9.618436918e-03f));
  sum = Fma(sum, f, Broadcast(5.550332367e-02f));
  sum = Fma(sum, f, Broadcast(2.402264774e-01f));
  sum = Fma(sum, f, Broadcast(6.931471825e-01f));
  sum = Fma(sum, f, Broadcast(1.0f));
  return Scaled(sum, n);
}

SOFTPACK_INLINE Vec Log2Of1024(Vec x) {
  Vec n, inverse, log;
  const Vec significand =
      Sixteenths(x, scalar::kLog2Inverses, scalar::kLog2Parts, &n, &inverse, &log);
  const Vec f = Fma(significand, inverse, Broadcast(-1.0f));
  Vec sum = Broadcast(4.812733531e-01f);
  sum = Fma(sum, f, Broadcast(-7.216220498e-01f));
  sum = Fma(sum, f, Broadcast(1.442694902e+00f));
  return Fma(sum, f, Add(n, log));
}

// Lanes of vector v of a group that has `present` classes.
SOFTPACK_INLINE uint32_t LanesPresent(uint64_t present, uint32_t v) {
  const uint64_t before = uint64_t{v} * kLanes;
  return present > before ? static_cast<uint32_t>(present - before) : 0;
}

// Vector v of a group of logits; `rest` beyond the last class.
template <bool Whole>
SOFTPACK_INLINE Vec LoadLogits(const float* logits, uint64_t present, uint32_t v, Vec rest) {
  if (Whole) return Load(logits + v * kLanes);
  const uint32_t count = LanesPresent(present, v);
  return LoadFirst(logits + (count > 0 ? v * kLanes : 0), count, rest);
}

SOFTPACK_INLINE float GreatestLane(Vec greatest) {
  float lanes[kLanes];
  Store(lanes, greatest);
  for (uint32_t width = kLanes / 2; width > 0; width /= 2) {
    for (uint32_t i = 0; i < width; ++i) {
      lanes[i] = lanes[i + width] > lanes[i] ? lanes[i + width] : lanes[i];
    }
  }
  return lanes[0];
}

// to = w, zeros beyond the last class, and its sums, returning the greatest logit; the next row's
// logits are on their way to L1 then. `greatest` is a softmax head's.
template <HeadKind Kind, bool Fixed, bool Entropy>
struct LabelPass {
  const RowReader& reader;
  const float* logits;
  uint64_t classes;
  Vec parameter;
  Vec greatest;
  float* to;
  Vec greatest_logit;
  Vec sums[kHeadVectors];
  Vec products[kHeadVectors];

  SOFTPACK_MEMBER_INLINE LabelPass(const RowReader& row, const float* student, uint64_t count,
                                   float head, float most, float* w)
      : reader(row),
        logits(student),
        classes(count),
        parameter(Broadcast(head)),
        greatest(Broadcast(most)),
        to(w),
        greatest_logit(Broadcast(student[0])) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kHeadVectors; ++v) sums[v] = products[v] = Zero();
  }

  // The group of columns from j on.
  template <bool Whole>
  SOFTPACK_MEMBER_INLINE void Group(uint64_t j) {
    const uint64_t present = classes - j;
    SOFTPACK_UNROLL
    for (uint32_t half = 0; half < kHeadVectors; half += kHeadVectors / 2) {
      Vec values[kHeadVectors / 2];
      reader.Load32<Fixed>(j + half * kLanes, values);
      SOFTPACK_UNROLL
      for (uint32_t i = 0; i < kHeadVectors / 2; ++i) {
        const uint32_t v = half + i;
        const Vec logit = LoadLogits<Whole>(logits + j, present, v, greatest_logit);
        greatest_logit = Greater(logit, greatest_logit);
        Vec w, t = Zero();
        if (Kind == HeadKind::kClamp) {
          w = Greater(values[i], parameter);
          if (Entropy) t = Log2Of1024(w);
        } else {
          t = Times(Subtract(values[i], greatest), parameter);
          w = Exp2(t);
        }
        if (!Whole) {
          w = FirstLanes(w, LanesPresent(present, v));
          t = FirstLanes(t, LanesPresent(present, v));
        }
        Store(to + j + v * kLanes, w);
        sums[v] = Add(sums[v], w);
        if (Entropy) products[v] = Fma(w, t, products[v]);
      }
    }
  }
};

template <HeadKind Kind, bool Fixed, bool Entropy>
SOFTPACK_INLINE float LabelSums(float parameter, float greatest, const RowReader& reader,
                                const float* logits, uint64_t classes, float* to,
                                scalar::KlSums* out) {
  LabelPass<Kind, Fixed, Entropy> pass(reader, logits, classes, parameter, greatest, to);
  uint64_t j = 0;
  for (; j + kHeadSums <= classes; j += kHeadSums) {
    SOFTPACK_UNROLL
    for (uint32_t line = 0; line < kHeadSums; line += 16) {
      __builtin_prefetch(logits + classes + j + line);
    }
    pass.template Group<true>(j);
  }
  if (j < classes) pass.template Group<false>(j);
  out->total = TotalOf(pass.sums);
  out->entropy = Entropy ? TotalOf(pass.products) : 0.0f;
  return GreatestLane(pass.greatest_logit);
}

// powers = 2^b, zeros beyond the last class, and the sums with it.
struct StudentPass {
  const float* logits;
  uint64_t classes;
  const float* w;
  float* powers;
  Vec greatest;
  Vec factor;
  Vec sums[kHeadVectors];
  Vec products[kHeadVectors];

  SOFTPACK_MEMBER_INLINE StudentPass(const KlInput& input, float most, uint64_t count,
                                     const float* label, float* out)
      : logits(input.logits),
        classes(count),
        w(label),
        powers(out),
        greatest(Broadcast(most)),
        factor(Broadcast(input.inverse_tau * scalar::kLog2E)) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kHeadVectors; ++v) sums[v] = products[v] = Zero();
  }

  template <bool Whole>
  SOFTPACK_MEMBER_INLINE void Group(uint64_t j) {
    const uint64_t present = classes - j;
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kHeadVectors; ++v) {
      const Vec logit = LoadLogits<Whole>(logits + j, present, v, greatest);
      const Vec b = Times(Subtract(logit, greatest), factor);
      Vec e = Exp2(b);
      if (!Whole) e = FirstLanes(e, LanesPresent(present, v));
      Store(powers + j + v * kLanes, e);
      sums[v] = Add(sums[v], e);
      products[v] = Fma(Load(w + j + v * kLanes), b, products[v]);
    }
  }
};

SOFTPACK_INLINE void StudentSums(const KlInput& input, float greatest_logit, uint64_t classes,
                                 const float* w, float* powers, scalar::KlSums* out) {
  StudentPass pass(input, greatest_logit, classes, w, powers);
  uint64_t j = 0;
  for (; j + kHeadSums <= classes; j += kHeadSums) pass.Group<true>(j);
  if (j < classes) pass.Group<false>(j);
  out->mixed = TotalOf(pass.products);
  out->partition = TotalOf(pass.sums);
}

template <HeadKind Kind, bool Fixed>
SOFTPACK_INLINE float LabelSumsOf(float parameter, float greatest, const RowReader& reader,
                                  const KlInput& input, uint64_t classes, float* w,
                                  scalar::KlSums* sums) {
  if (input.entropy)
    return LabelSums<Kind, Fixed, true>(parameter, greatest, reader, input.logits, classes, w,
                                        sums);
  return LabelSums<Kind, Fixed, false>(parameter, greatest, reader, input.logits, classes, w, sums);
}

float Kl(const Head& head, const RowView& row, const KlInput& input, uint64_t classes, float* w,
         float* powers, float* gradient) {
  const bool clamp = head.kind == HeadKind::kClamp;
  scalar::KlSums sums;
  float greatest_logit;
  if (!clamp) {
    if (row.floats != w) Widen(row, (classes + kHeadSums - 1) / kHeadSums * kHeadSums, w);
    const RowView values = WholeRow(w);
    const float factor = head.parameter * scalar::kLog2E;
    greatest_logit = LabelSumsOf<HeadKind::kSoftmax, false>(
        factor, GreatestOf(w, classes), RowReader(values), input, classes, w, &sums);
  } else if (row.sums != nullptr) {
    greatest_logit = LabelSumsOf<HeadKind::kClamp, true>(head.parameter, 0.0f, RowReader(row),
                                                         input, classes, w, &sums);
  } else {
    greatest_logit = LabelSumsOf<HeadKind::kClamp, false>(head.parameter, 0.0f, RowReader(row),
                                                          input, classes, w, &sums);
  }
  StudentSums(input, greatest_logit, classes, w, powers, &sums);
  if (gradient != nullptr) {
    const Vec student = Broadcast(input.gradient_scale / sums.partition);
    const Vec label = Broadcast(input.gradient_scale / sums.total);
    const auto slope = [&](uint64_t j) {
      return Fma(Load(powers + j), student, Negated(Times(Load(w + j), label)));
    };
    StoreRow<kSoftpackFloat32>(slope, classes, input.streamed, gradient);
  }
  // scalar::Log calls a function for each multiply-add where the file's own target has none.
  float logs[kLanes] = {sums.total, sums.partition * scalar::KlUnit(clamp, input.entropy)};
  Store(logs, Log(Load(logs)));
  return scalar::KlLoss(sums, input.entropy, logs[0], logs[1]);
}
