// Masks, integers and sums across the lanes of four floats, for cells_simd.h. Included after
// simd_neon.h.
SOFTPACK_INLINE Vec SquareRoot(Vec a) { return vsqrtq_f32(a); }

// 4 unsigned integers, and all bits of a lane or none.
using Lanes = uint32x4_t;
using Mask = uint32x4_t;
SOFTPACK_INLINE Lanes BroadcastLanes(uint32_t value) { return vdupq_n_u32(value); }
SOFTPACK_INLINE Lanes LoadLanes(const uint32_t* from) { return vld1q_u32(from); }
SOFTPACK_INLINE void StoreLanes(uint32_t* to, Lanes a) { vst1q_u32(to, a); }
SOFTPACK_INLINE Lanes AddLanes(Lanes a, Lanes b) { return vaddq_u32(a, b); }
SOFTPACK_INLINE Lanes Lower(Lanes a, Lanes b) { return vminq_u32(a, b); }
SOFTPACK_INLINE Lanes AsLanes(Vec a) { return vreinterpretq_u32_f32(a); }
SOFTPACK_INLINE Vec AsFloats(Lanes a) { return vreinterpretq_f32_u32(a); }
// False where one is NaN.
SOFTPACK_INLINE Mask IsLess(Vec a, Vec b) { return vcltq_f32(a, b); }
SOFTPACK_INLINE Mask IsAtMost(Vec a, Vec b) { return vcleq_f32(a, b); }
SOFTPACK_INLINE Mask IsEqual(Vec a, Vec b) { return vceqq_f32(a, b); }
SOFTPACK_INLINE Mask IsLower(Lanes a, Lanes b) { return vcltq_u32(a, b); }
SOFTPACK_INLINE Mask AreSame(Lanes a, Lanes b) { return vceqq_u32(a, b); }
SOFTPACK_INLINE Mask And(Mask a, Mask b) { return vandq_u32(a, b); }
SOFTPACK_INLINE Mask Or(Mask a, Mask b) { return vorrq_u32(a, b); }
SOFTPACK_INLINE Mask Without(Mask a, Mask b) { return vbicq_u32(a, b); }
SOFTPACK_INLINE uint32_t BitsOf(Mask a) {
  const uint32_t bits[] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(a, vld1q_u32(bits)));
}
SOFTPACK_INLINE Vec Choose(Mask which, Vec yes, Vec no) { return vbslq_f32(which, yes, no); }
SOFTPACK_INLINE Lanes ChooseLanes(Mask which, Lanes yes, Lanes no) {
  return vbslq_u32(which, yes, no);
}

// For each choice of lanes, their bytes one behind the other.
struct ChosenLanes {
  uint8_t bytes[16][16];
  constexpr ChosenLanes() : bytes() {
    for (uint32_t which = 0; which < 16; ++which) {
      uint32_t count = 0;
      for (uint8_t byte = 0; byte < 16; ++byte) {
        if ((which >> (byte / 4) & 1) != 0) bytes[which][count++] = byte;
      }
    }
  }
};
constexpr ChosenLanes kChosenLanes;

// Stores the chosen lanes one behind the other, and what follows up to 4. Returns how many.
SOFTPACK_INLINE uint32_t AppendWhere(uint32_t* to, Mask which, Lanes a) {
  const uint32_t bits = BitsOf(which);
  const uint8x16_t bytes = vld1q_u8(kChosenLanes.bytes[bits]);
  StoreLanes(to, vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(a), bytes)));
  return static_cast<uint32_t>(__builtin_popcount(bits));
}

// Lane i = all lanes of rows[i], combined: lanes of two rows side by side, then pairs of them.
template <class Operation>
SOFTPACK_INLINE Vec CombineLanes(const Vec* rows) {
  Vec pairs[2];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < 2; ++i) {
    const Vec a = rows[2 * i], b = rows[2 * i + 1];
    pairs[i] = Operation::Of(vzip1q_f32(a, b), vzip2q_f32(a, b));
  }
  return Operation::Of(vcombine_f32(vget_low_f32(pairs[0]), vget_low_f32(pairs[1])),
                       vcombine_f32(vget_high_f32(pairs[0]), vget_high_f32(pairs[1])));
}
