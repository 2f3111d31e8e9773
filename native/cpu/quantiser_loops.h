// Loops of core/quantiser.h that every instruction set has as they stand: the compiler makes
// vectors of them. Included inside each namespace of kernels; calls nothing from the standard
// library.

inline double AtLeast(float value, double least) { return value > least ? value : least; }

void DequantiseValues(const int16_t* indices, const uint8_t* contexts, uint64_t count, float shift,
                      double unit, float* out) {
  for (uint64_t i = 0; i < count; ++i) {
    const int32_t index = indices[i];
    const int32_t sign = (index > 0) - (index < 0);
    const int32_t multiple = contexts == nullptr ? index : 2 * index - sign * contexts[i];
    // Exact: 17 bits before the point, 7 behind.
    const float moved = static_cast<float>(multiple) - static_cast<float>(sign) * shift;
    out[i] = static_cast<float>(moved * unit);
  }
}
