// Heads and the loss (see head_scalar.h) over the vectors of a simd_<isa>.h; included by
// kernels_simd.h.
//
// A row of 1,000 values is 4 kB and stays in L1. clamp reads the row, writes scratch, reads it and
// writes the label; about one vector of each a cycle, bound by the stores.

constexpr uint32_t kHeadVectors = kHeadSums / kLanes;

// Reads rows kHeadSums columns at a time.
struct RowReader {
  explicit RowReader(const RowView& view)
      : row(view), mask(view.width - 1), shift(static_cast<uint32_t>(__builtin_ctz(view.width))) {}

  uint64_t Place(uint64_t j) const { return (j >> shift) * row.block_stride + (j & mask); }

  // 32 columns of sums.
  SOFTPACK_MEMBER_INLINE void LoadFixed(uint64_t j, Vec* values) const {
    const int16_t* const sums = row.sums + Place(j);
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < 16 / kLanes; ++i) {
      const Words words = LoadElements(sums + 2 * i * kLanes);
      const uint64_t low = j + i * kLanes, high = low + 16;
      values[i] = Fma(LowFloats(words), Load(row.step + low), Load(row.start + low));
      values[i + 16 / kLanes] =
          Fma(HighFloats(words), Load(row.step + high), Load(row.start + high));
    }
  }

  SOFTPACK_MEMBER_INLINE void LoadFloats(uint64_t j, Vec* values) const {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < 32 / kLanes; ++v) {
      values[v] = Load(row.floats + Place(j + v * kLanes));
    }
  }

  template <bool Fixed>
  SOFTPACK_MEMBER_INLINE void Load32(uint64_t j, Vec* values) const {
    if (Fixed)
      LoadFixed(j, values);
    else
      LoadFloats(j, values);
  }

  const RowView& row;
  const uint64_t mask;
  const uint32_t shift;
};

template <bool Fixed>
SOFTPACK_INLINE void WidenRow(const RowReader& reader, uint64_t length, float* values) {
  for (uint64_t j = 0; j < length; j += 32) {
    Vec group[32 / kLanes];
    reader.Load32<Fixed>(j, group);
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < 32 / kLanes; ++v) Store(values + j + v * kLanes, group[v]);
  }
}

void Widen(const RowView& row, uint64_t length, float* values) {
  const RowReader reader(row);
  if (row.sums != nullptr)
    WidenRow<true>(reader, length, values);
  else
    WidenRow<false>(reader, length, values);
}

SOFTPACK_INLINE Vec Exp(Vec x) {
  x = Greater(x, Broadcast(-87.0f));
  const Vec magic = Broadcast(12582912.0f);
  const Vec shifted = Fma(x, Broadcast(1.44269504f), magic);
  const Vec n = Subtract(shifted, magic);
  Vec r = Fma(n, Broadcast(-0.693359375f), x);
  r = Fma(n, Broadcast(2.12194440e-4f), r);
  Vec sum = Broadcast(1.0f / 5040);
  sum = Fma(sum, r, Broadcast(1.0f / 720));
  sum = Fma(sum, r, Broadcast(1.0f / 120));
  sum = Fma(sum, r, Broadcast(1.0f / 24));
  sum = Fma(sum, r, Broadcast(1.0f / 6));
  sum = Fma(sum, r, Broadcast(0.5f));
  sum = Fma(sum, r, Broadcast(1.0f));
  sum = Fma(sum, r, Broadcast(1.0f));
  return Times(sum, PowerOfTwo(shifted));
}

SOFTPACK_INLINE Vec Log(Vec x) {
  x = Greater(x, Broadcast(1.17549435e-38f));
  Vec n;
  const Vec f = Subtract(Significand(x, &n), Broadcast(1.0f));
  Vec sum = Broadcast(7.0376836292e-2f);
  sum = Fma(sum, f, Broadcast(-1.1514610310e-1f));
  sum = Fma(sum, f, Broadcast(1.1676998740e-1f));
  sum = Fma(sum, f, Broadcast(-1.2420140846e-1f));
  sum = Fma(sum, f, Broadcast(1.4249322787e-1f));
  sum = Fma(sum, f, Broadcast(-1.6668057665e-1f));
  sum = Fma(sum, f, Broadcast(2.0000714765e-1f));
  sum = Fma(sum, f, Broadcast(-2.4999993993e-1f));
  sum = Fma(sum, f, Broadcast(3.3333331174e-1f));
  sum = Fma(sum, f, Broadcast(-0.5f));
  sum = Fma(n, Broadcast(-2.12194440e-4f), Times(Times(f, f), sum));
  return Fma(n, Broadcast(0.693359375f), Add(f, sum));
}

SOFTPACK_INLINE float TotalOf(Vec* sums) {
  SOFTPACK_UNROLL
  for (uint32_t count = kHeadVectors / 2; count > 0; count /= 2) {
    for (uint32_t v = 0; v < count; ++v) sums[v] = Add(sums[v], sums[v + count]);
  }
  return SumOfLanes(sums[0]);
}

// Zeros in the columns of a group from `present` on.
SOFTPACK_INLINE void ZeroBeyond(uint64_t present, Vec* group) {
  for (uint32_t v = 0; v < kHeadVectors; ++v) {
    const uint64_t before = uint64_t{v} * kLanes;
    group[v] = FirstLanes(group[v], present > before ? static_cast<uint32_t>(present - before) : 0);
  }
}

float GreatestOf(const float* values, uint64_t classes) {
  Vec greatest[kHeadVectors];
  SOFTPACK_UNROLL
  for (uint32_t v = 0; v < kHeadVectors; ++v) greatest[v] = Broadcast(values[0]);
  uint64_t j = 0;
  for (; j + kHeadSums <= classes; j += kHeadSums) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kHeadVectors; ++v) {
      greatest[v] = Greater(Load(values + j + v * kLanes), greatest[v]);
    }
  }
  for (; j + kLanes <= classes; j += kLanes) greatest[0] = Greater(Load(values + j), greatest[0]);
  SOFTPACK_UNROLL
  for (uint32_t v = 1; v < kHeadVectors; ++v) greatest[0] = Greater(greatest[0], greatest[v]);
  float lanes[kLanes];
  Store(lanes, greatest[0]);
  for (; j < classes; ++j) lanes[0] = values[j] > lanes[0] ? values[j] : lanes[0];
  for (uint32_t width = kLanes / 2; width > 0; width /= 2) {
    for (uint32_t i = 0; i < width; ++i) {
      lanes[i] = lanes[i + width] > lanes[i] ? lanes[i + width] : lanes[i];
    }
  }
  return lanes[0];
}

// scratch = max(v, eps), zeros beyond the last class; returns its sum.
template <bool Fixed>
SOFTPACK_INLINE float ClampAndSum(const RowReader& reader, float eps, uint64_t classes,
                                  float* scratch) {
  Vec sums[kHeadVectors];
  SOFTPACK_UNROLL
  for (uint32_t v = 0; v < kHeadVectors; ++v) sums[v] = Zero();
  const Vec least = Broadcast(eps);
  for (uint64_t j = 0; j < classes; j += kHeadSums) {
    const uint64_t present = classes - j;
    Vec values[kHeadVectors];
    reader.Load32<Fixed>(j, values);
    reader.Load32<Fixed>(j + 32, values + 32 / kLanes);
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kHeadVectors; ++v) values[v] = Greater(values[v], least);
    if (present < kHeadSums) ZeroBeyond(present, values);
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kHeadVectors; ++v) {
      Store(scratch + j + v * kLanes, values[v]);
      sums[v] = Add(sums[v], values[v]);
    }
  }
  return TotalOf(sums);
}

// to = exp((from - greatest) * factor), zeros beyond the last class; returns its sum.
SOFTPACK_INLINE float ExpAndSum(const float* from, float greatest, float factor, uint64_t classes,
                                float* to) {
  Vec sums[kHeadVectors];
  SOFTPACK_UNROLL
  for (uint32_t v = 0; v < kHeadVectors; ++v) sums[v] = Zero();
  const Vec high = Broadcast(greatest), scale = Broadcast(factor);
  for (uint64_t j = 0; j < classes; j += kHeadSums) {
    const uint64_t present = classes - j;
    Vec values[kHeadVectors];
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kHeadVectors; ++v) {
      values[v] = Exp(Times(Subtract(Load(from + j + v * kLanes), high), scale));
    }
    if (present < kHeadSums) ZeroBeyond(present, values);
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kHeadVectors; ++v) {
      Store(to + j + v * kLanes, values[v]);
      sums[v] = Add(sums[v], values[v]);
    }
  }
  return TotalOf(sums);
}

SOFTPACK_INLINE void StoreAs(float* to, Vec a, SoftpackDtype) { Store(to, a); }
SOFTPACK_INLINE void StoreAs(uint16_t* to, Vec a, SoftpackDtype type) {
  if (type == kSoftpackFloat16)
    StoreHalf(to, a);
  else
    StoreBfloat(to, a);
}

SOFTPACK_INLINE void StreamAs(float* to, Vec a, SoftpackDtype) { Stream(to, a); }
SOFTPACK_INLINE void StreamAs(uint16_t* to, Vec a, SoftpackDtype type) {
  if (type == kSoftpackFloat16)
    StreamHalf(to, a);
  else
    StreamBfloat(to, a);
}

// to[j] = vector(j) in the output's type.
template <SoftpackDtype Type, class Element, class Vector>
SOFTPACK_INLINE void StoreRow(const Vector& vector, uint64_t classes, bool streamed, Element* to) {
  uint64_t j = 0;
  if (streamed) {
    // Streamed stores are aligned to their size; a first vector, written again in part, fills in.
    constexpr uint64_t kBytes = kLanes * sizeof(Element);
    const uint64_t beyond = reinterpret_cast<uintptr_t>(to) % kBytes;
    if (beyond != 0 && classes >= kLanes) {
      StoreAs(to, vector(0), Type);
      j = (kBytes - beyond) / sizeof(Element);
    }
    for (; j + kLanes <= classes; j += kLanes) StreamAs(to + j, vector(j), Type);
  } else {
    for (; j + kLanes <= classes; j += kLanes) StoreAs(to + j, vector(j), Type);
  }
  if (j == classes) return;
  Element rest[kLanes];
  StoreAs(rest, vector(j), Type);
  for (uint32_t i = 0; j < classes; ++i, ++j) to[j] = rest[i];
}

void Finish(const Head& head, const RowView& row, uint64_t classes, float* scratch,
            const RowOutput& out) {
  const RowReader reader(row);
  float scale = 1.0f;
  if (head.kind == HeadKind::kClamp) {
    scale =
        1.0f / (row.sums != nullptr ? ClampAndSum<true>(reader, head.parameter, classes, scratch)
                                    : ClampAndSum<false>(reader, head.parameter, classes, scratch));
  } else {
    Widen(row, (classes + kHeadSums - 1) / kHeadSums * kHeadSums, scratch);
    if (head.kind == HeadKind::kSoftmax) {
      const float greatest = GreatestOf(scratch, classes);
      scale = 1.0f / ExpAndSum(scratch, greatest, head.parameter, classes, scratch);
    }
  }
  const Vec factor = Broadcast(scale);  // for identity 1: the product is exact
  const auto label = [&](uint64_t j) { return Times(Load(scratch + j), factor); };
  auto* const floats = static_cast<float*>(out.data);
  auto* const words = static_cast<uint16_t*>(out.data);
  if (out.type == kSoftpackFloat32)
    StoreRow<kSoftpackFloat32>(label, classes, out.streamed, floats);
  else if (out.type == kSoftpackFloat16)
    StoreRow<kSoftpackFloat16>(label, classes, out.streamed, words);
  else
    StoreRow<kSoftpackBfloat16>(label, classes, out.streamed, words);
}

void Fence() { StreamFence(); }
