// Four floats at a time, for kernels_simd.h. Included inside the namespace of its kernels: every
// arm64 processor has these instructions.
using Vec = float32x4_t;

constexpr uint32_t kLanes = 4;
constexpr uint32_t kStripRows = 6;  // 6 x 16 accumulators fill 24 of 32 registers
constexpr uint32_t kPanelVectors = 4;
constexpr uint32_t kNearestRows = 6;
constexpr uint32_t kNearestVectors = 4;
constexpr uint32_t kInnerBlock = 256;  // a panel of 16 kB: a quarter of L1
constexpr uint32_t kSumVectors = 16;   // of 32 registers
constexpr uint32_t kRowBlock = 96;     // a block of 96 kB: a part of L2

SOFTPACK_INLINE Vec Zero() { return vdupq_n_f32(0.0f); }
SOFTPACK_INLINE Vec Broadcast(float value) { return vdupq_n_f32(value); }
SOFTPACK_INLINE Vec Load(const float* from) { return vld1q_f32(from); }
SOFTPACK_INLINE void Store(float* to, Vec a) { vst1q_f32(to, a); }
SOFTPACK_INLINE Vec Add(Vec a, Vec b) { return vaddq_f32(a, b); }
SOFTPACK_INLINE Vec Subtract(Vec a, Vec b) { return vsubq_f32(a, b); }
SOFTPACK_INLINE Vec Times(Vec a, Vec b) { return vmulq_f32(a, b); }
// a where a > b, else b, also where one is NaN; vmaxq_f32 would give NaN.
SOFTPACK_INLINE Vec Greater(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
// a where a < b, else b.
SOFTPACK_INLINE Vec Less(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
SOFTPACK_INLINE Vec Negated(Vec a) { return vnegq_f32(a); }
SOFTPACK_INLINE Vec Fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
SOFTPACK_INLINE Vec NegatedFma(Vec a, Vec b, Vec c) { return vfmsq_f32(c, a, b); }

// 2^n from the low bits of n + 1.5 * 2^23.
SOFTPACK_INLINE Vec PowerOfTwo(Vec shifted) {
  const int32x4_t bits = vaddq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(127));
  return vreinterpretq_f32_s32(vshlq_n_s32(bits, 23));
}

SOFTPACK_INLINE uint16x4_t HalfOf(Vec a) { return vreinterpret_u16_f16(vcvt_f16_f32(a)); }

// By integers: the conversion instructions of some processors flush subnormal numbers.
SOFTPACK_INLINE uint16x4_t BfloatOf(Vec a) {
  const uint32x4_t bits = vreinterpretq_u32_f32(a);
  const uint32x4_t high = vshrq_n_u32(bits, 16);
  const uint32x4_t even = vandq_u32(high, vdupq_n_u32(1));
  const uint32x4_t biased = vaddq_u32(bits, vaddq_u32(even, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(high, vdupq_n_u32(0x40));
  const uint32x4_t ordered = vceqq_f32(a, a);
  return vmovn_u32(vbslq_u32(ordered, vshrq_n_u32(biased, 16), quiet));
}

SOFTPACK_INLINE Vec LoadBfloat(const uint16_t* from) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(from), 16));
}

SOFTPACK_INLINE void StoreHalf(uint16_t* to, Vec a) { vst1_u16(to, HalfOf(a)); }
SOFTPACK_INLINE void StoreBfloat(uint16_t* to, Vec a) { vst1_u16(to, BfloatOf(a)); }
// Processors recognise long runs of stores by themselves and do not read the lines first.
SOFTPACK_INLINE void Stream(float* to, Vec a) { Store(to, a); }
SOFTPACK_INLINE void StreamHalf(uint16_t* to, Vec a) { StoreHalf(to, a); }
SOFTPACK_INLINE void StreamBfloat(uint16_t* to, Vec a) { StoreBfloat(to, a); }
SOFTPACK_INLINE void StreamFence() {}

// x = 2^n * result, result in [sqrt(1/2), sqrt(2)).
SOFTPACK_INLINE Vec Significand(Vec x, Vec* n) {
  const int32x4_t offset = vdupq_n_s32(0x3f3504f3);
  const int32x4_t shifted = vsubq_s32(vreinterpretq_s32_f32(x), offset);
  *n = vcvtq_f32_s32(vshrq_n_s32(shifted, 23));
  const int32x4_t rest = vandq_s32(shifted, vdupq_n_s32(0x007fffff));
  return vreinterpretq_f32_s32(vaddq_s32(rest, offset));
}

SOFTPACK_INLINE uint32x4_t LaneNumbers() {
  const uint32_t lanes[] = {0, 1, 2, 3};
  return vld1q_u32(lanes);
}

// The first `count` lanes; zeros after them.
SOFTPACK_INLINE Vec FirstLanes(Vec a, uint32_t count) {
  const uint32x4_t kept = vcltq_u32(LaneNumbers(), vdupq_n_u32(count));
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), kept));
}

// The first `count` floats and nothing beyond them, `rest` in the other lanes.
SOFTPACK_INLINE Vec LoadFirst(const float* from, uint32_t count, Vec rest) {
  if (count >= 4) return Load(from);
  float lanes[4];
  Store(lanes, rest);
  for (uint32_t i = 0; i < count; ++i) lanes[i] = from[i];
  return Load(lanes);
}

// Lanes i and i + 2, then 0 and 1.
SOFTPACK_INLINE float SumOfLanes(Vec a) {
  const float32x2_t two = vadd_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

// To the nearest integer, ties to even.
SOFTPACK_INLINE Vec Rounded(Vec a) { return vrndnq_f32(a); }
// a * 2^n for a whole n; normal numbers both.
SOFTPACK_INLINE Vec Scaled(Vec a, Vec n) {
  const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(n), 23);
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), exponent));
}

// x = 2^(n - 10) * result, result in [1, 2); the entries of its sixteenth in two tables.
SOFTPACK_INLINE Vec Sixteenths(Vec x, const float* first, const float* second, Vec* n,
                               Vec* of_first, Vec* of_second) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t exponent = vorrq_u32(vshrq_n_u32(bits, 23), vdupq_n_u32(0x4b000000));
  *n = vsubq_f32(vreinterpretq_f32_u32(exponent), vdupq_n_f32(8388725.0f));
  const uint32x4_t part = vandq_u32(vshrq_n_u32(bits, 19), vdupq_n_u32(15));
  // The four bytes of each entry.
  const uint8x16_t bytes =
      vreinterpretq_u8_u32(vaddq_u32(vmulq_n_u32(part, 0x04040404), vdupq_n_u32(0x03020100)));
  const auto entry = [&](const float* table) {
    const uint8_t* const from = reinterpret_cast<const uint8_t*>(table);
    const uint8x16x4_t entries = {
        {vld1q_u8(from), vld1q_u8(from + 16), vld1q_u8(from + 32), vld1q_u8(from + 48)}};
    return vreinterpretq_f32_u8(vqtbl4q_u8(entries, bytes));
  };
  *of_first = entry(first);
  *of_second = entry(second);
  const uint32x4_t significand = vandq_u32(bits, vdupq_n_u32(0x007fffff));
  return vreinterpretq_f32_u32(vorrq_u32(significand, vdupq_n_u32(0x3f800000)));
}

// 8 16-bit sums.
using Words = int16x8_t;
SOFTPACK_INLINE Words LoadElements(const int16_t* from) { return vld1q_s16(from); }
SOFTPACK_INLINE void StoreElements(int16_t* to, Words a) { vst1q_s16(to, a); }
SOFTPACK_INLINE Words AddElements(Words a, Words b) { return vaddq_s16(a, b); }
// 65536 times each second sum, from the first and from the second on.
SOFTPACK_INLINE Vec LowFloats(Words a) {
  return vcvtq_f32_s32(vshlq_n_s32(vreinterpretq_s32_s16(a), 16));
}
SOFTPACK_INLINE Vec HighFloats(Words a) {
  return vcvtq_f32_s32(vandq_s32(vreinterpretq_s32_s16(a), vdupq_n_s32(-65536)));
}
SOFTPACK_INLINE Words ToWords(Vec low, Vec high) {
  const int32x4_t low_half = vandq_s32(vcvtnq_s32_f32(low), vdupq_n_s32(0xffff));
  const int32x4_t words = vorrq_s32(low_half, vshlq_n_s32(vcvtnq_s32_f32(high), 16));
  return vreinterpretq_s16_s32(words);
}

// The least score of each lane and where it was.
struct Best {
  Vec score;
  uint32x4_t index;
};

SOFTPACK_INLINE Best NoBest() { return {Broadcast(__builtin_inff()), vdupq_n_u32(0)}; }
SOFTPACK_INLINE Best BetterOf(Best best, Vec score, uint32_t first_index) {
  const uint32x4_t index = vaddq_u32(LaneNumbers(), vdupq_n_u32(first_index));
  const uint32x4_t less = vcltq_f32(score, best.score);
  return {vbslq_f32(less, score, best.score), vbslq_u32(less, index, best.index)};
}
SOFTPACK_INLINE void StoreBest(Best best, float* scores, uint32_t* indices) {
  vst1q_f32(scores, best.score);
  vst1q_u32(indices, best.index);
}

// (a * weight_a + b * weight_b + 2^5) / 2^6, rounded down, of 4 integers.
SOFTPACK_INLINE Vec BlendRounded(const int32_t* a, const int32_t* b, int32_t weight_a,
                                 int32_t weight_b) {
  int32x4_t sum = vdupq_n_s32(32);
  sum = vmlaq_n_s32(sum, vld1q_s32(a), weight_a);
  sum = vmlaq_n_s32(sum, vld1q_s32(b), weight_b);
  return vcvtq_f32_s32(vshrq_n_s32(sum, 6));
}

// 4 integers.
using Integers = int32x4_t;
SOFTPACK_INLINE Integers BroadcastInteger(int32_t value) { return vdupq_n_s32(value); }
SOFTPACK_INLINE Integers AddProduct(Integers sum, const int32_t* row, int32_t weight) {
  return vmlaq_n_s32(sum, vld1q_s32(row), weight);
}
// sum / 2^Bits, at most 255.
template <int Bits>
SOFTPACK_INLINE Vec ShiftedPixel(Integers sum) {
  return vcvtq_f32_s32(vminq_s32(vshrq_n_s32(sum, Bits), vdupq_n_s32(255)));
}
