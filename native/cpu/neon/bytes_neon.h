// Pixels and states of a trellis, bytes both, for augment_simd.h and rans_simd.h. Included inside
// the namespace of its kernels.

// Four bytes as 32-bit integers: a pixel and one byte more.
SOFTPACK_INLINE uint16x4_t LoadPixel(const uint8_t* from) {
  uint32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return vget_low_u16(vmovl_u8(vcreate_u8(word)));
}

// The fourth sum is of no use.
SOFTPACK_INLINE void ResizePixel(const uint8_t* left, const uint8_t* right, uint32_t weights,
                                 int32_t* sums) {
  uint32x4_t sum = vmull_n_u16(LoadPixel(left), static_cast<uint16_t>(weights));
  sum = vmlal_n_u16(sum, LoadPixel(right), static_cast<uint16_t>(weights >> 16));
  vst1q_s32(sums, vreinterpretq_s32_u32(sum));
}

// The pixels of a tap times their weights; the fourth sum is of no use.
SOFTPACK_INLINE void FilterPixel(const uint8_t* from, const float* weights, uint32_t count,
                                 float* out) {
  float32x4_t sum = vdupq_n_f32(0.0f);
  for (uint32_t k = 0; k < count; ++k) {
    const float32x4_t pixel = vcvtq_f32_u32(vmovl_u16(LoadPixel(from + 3 * k)));
    sum = vaddq_f32(sum, vmulq_n_f32(pixel, weights[k]));
  }
  vst1q_f32(out, sum);
}

SOFTPACK_INLINE void FilterPixel(const uint8_t* from, const int32_t* weights, uint32_t count,
                                 int32_t* out) {
  int32x4_t sum = vdupq_n_s32(kFilterHalf);
  for (uint32_t k = 0; k < count; ++k) {
    const int32x4_t pixel = vreinterpretq_s32_u32(vmovl_u16(LoadPixel(from + 3 * k)));
    sum = vmlaq_n_s32(sum, pixel, weights[k]);
  }
  vst1q_s32(out, vminq_s32(vshrq_n_s32(sum, kFilterBits), vdupq_n_s32(255)));
}

// 16 columns of the trellis: a state is a byte, and both tables fit into one look-up.
SOFTPACK_INLINE void AdvanceSixteen(const RansTrellis& trellis, const int16_t* values,
                                    uint8_t* states, uint8_t* contexts) {
  const uint8x16_t words = vcombine_u8(vmovn_u16(vreinterpretq_u16_s16(vld1q_s16(values))),
                                       vmovn_u16(vreinterpretq_u16_s16(vld1q_s16(values + 8))));
  const uint8x16_t parity = vandq_u8(words, vdupq_n_u8(1));
  const uint8x16_t now = vld1q_u8(states);
  const uint8x16_t way = vaddq_u8(vaddq_u8(now, now), parity);
  const uint8x16_t moved = vqtbl1q_u8(vld1q_u8(trellis.next), way);
  vst1q_u8(states, moved);
  vst1q_u8(contexts, vqtbl1q_u8(vld1q_u8(trellis.context), moved));
}
