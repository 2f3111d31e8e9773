// Eight rANS lanes at a time, for rans_simd.h. Included inside the namespace of its kernels.
//
// There is no gather: entries are loaded one by one. Words go to the lanes that need one by a byte
// look-up in 16 bytes of the stream.

// For each set of 8 lanes, which bytes of the words read go to the low half of each state; 255 (a
// zero) to the high halves and to lanes that need none.
struct LaneBytes {
  uint8_t of[256][32];
};

constexpr LaneBytes MakeLaneBytes() {
  LaneBytes bytes = {};
  for (uint32_t lanes = 0; lanes < 256; ++lanes) {
    uint8_t word = 0;
    for (uint32_t lane = 0; lane < 8; ++lane) {
      uint8_t* const to = bytes.of[lanes] + 4 * lane;
      for (uint32_t i = 0; i < 4; ++i) to[i] = 255;
      if ((lanes >> lane & 1) == 0) continue;
      to[0] = word++;
      to[1] = word++;
    }
  }
  return bytes;
}

constexpr LaneBytes kLaneBytes = MakeLaneBytes();

struct EightWords {
  using Vector = uint32x4x2_t;
  static constexpr uint32_t kWidth = 8;

  SOFTPACK_INLINE Vector Load(const uint32_t* from) {
    return {{vld1q_u32(from), vld1q_u32(from + 4)}};
  }
  SOFTPACK_INLINE void Store(uint32_t* to, Vector a) {
    vst1q_u32(to, a.val[0]);
    vst1q_u32(to + 4, a.val[1]);
  }

  SOFTPACK_INLINE Vector FirstEntries(const RansRow& row, uint64_t at) {
    const uint32x4_t first = vdupq_n_u32(row.first[0]);
    if (row.contexts == nullptr) return {{first, first}};
    const uint32x4_t second = vdupq_n_u32(row.first[1]);
    const uint16x8_t contexts = vmovl_u8(vld1_u8(row.contexts + at));
    const uint32x4_t zero = vdupq_n_u32(0);
    const uint32x4_t low = vcgtq_u32(vmovl_u16(vget_low_u16(contexts)), zero);
    const uint32x4_t high = vcgtq_u32(vmovl_u16(vget_high_u16(contexts)), zero);
    return {{vbslq_u32(low, second, first), vbslq_u32(high, second, first)}};
  }

  SOFTPACK_INLINE Vector Gather(const uint32_t* tables, Vector first, Vector states) {
    const uint32x4_t slots = vdupq_n_u32(kRansSlots - 1);
    uint32_t entries[kWidth];
    vst1q_u32(entries, vaddq_u32(first.val[0], vandq_u32(states.val[0], slots)));
    vst1q_u32(entries + 4, vaddq_u32(first.val[1], vandq_u32(states.val[1], slots)));
    for (uint32_t i = 0; i < kWidth; ++i) entries[i] = tables[entries[i]];
    return Load(entries);
  }

  SOFTPACK_INLINE uint32x4_t StepFour(uint32x4_t states, uint32x4_t entries) {
    const uint32x4_t low = vdupq_n_u32(0xfff);
    const uint32x4_t frequency = vaddq_u32(vandq_u32(entries, low), vdupq_n_u32(1));
    const uint32x4_t rest = vandq_u32(vshrq_n_u32(entries, 12), low);
    return vmlaq_u32(rest, frequency, vshrq_n_u32(states, kRansBits));
  }
  SOFTPACK_INLINE Vector Step(Vector states, Vector entries) {
    return {{StepFour(states.val[0], entries.val[0]), StepFour(states.val[1], entries.val[1])}};
  }

  SOFTPACK_INLINE int16x4_t ValuesOf(uint32x4_t entries) {
    return vmovn_s32(vshrq_n_s32(vreinterpretq_s32_u32(entries), 24));
  }
  SOFTPACK_INLINE void StoreValues(int16_t* to, Vector entries) {
    vst1q_s16(to, vcombine_s16(ValuesOf(entries.val[0]), ValuesOf(entries.val[1])));
  }

  // Gives the next words to the states that need one; returns how many do.
  SOFTPACK_INLINE uint32_t Refill(Vector* states, const uint8_t* next) {
    const uint16_t bits[] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint32x4_t limit = vdupq_n_u32(1u << 16);
    const uint32x4_t low = vcltq_u32(states->val[0], limit);
    const uint32x4_t high = vcltq_u32(states->val[1], limit);
    const uint16x8_t needed = vcombine_u16(vmovn_u32(low), vmovn_u32(high));
    const uint32_t lanes = vaddvq_u16(vandq_u16(needed, vld1q_u16(bits)));
    const uint8x16_t words = vld1q_u8(next);
    const uint8_t* const order = kLaneBytes.of[lanes];
    const auto refilled = [&](uint32x4_t state, uint32x4_t where, const uint8_t* from) {
      const uint32x4_t word = vreinterpretq_u32_u8(vqtbl1q_u8(words, vld1q_u8(from)));
      return vbslq_u32(where, vorrq_u32(vshlq_n_u32(state, 16), word), state);
    };
    states->val[0] = refilled(states->val[0], low, order);
    states->val[1] = refilled(states->val[1], high, order + 16);
    return static_cast<uint32_t>(__builtin_popcount(lanes));
  }
};
