// Loops over a teacher's logits that every instruction set has as they stand: the compiler makes
// vectors of them. Included inside each namespace of kernels; calls nothing from the standard
// library.

// Maxima of blocks of kTokenBlock logits; false if one of them is NaN or +infinity. Signed integers
// of the bits of floats, those behind the sign inverted in negative ones, have the order of the
// floats; their maximum needs no order of evaluation.
bool TokenMaxima(const float* logits, uint64_t count, float* maxima) {
  constexpr int32_t kMagnitude = 0x7fffffff;
  constexpr int32_t kInfinity = 0x7f800000;
  constexpr int32_t kNan = -kInfinity - 1;  // NaN with a sign is below it
  int32_t wrong = 0;
  for (uint64_t begin = 0; begin < count; begin += kTokenBlock, ++maxima) {
    const uint64_t own = count - begin < kTokenBlock ? count - begin : kTokenBlock;
    int32_t most = -kMagnitude - 1;
    for (uint64_t i = 0; i < own; ++i) {
      int32_t bits = static_cast<int32_t>(scalar::BitsOf(logits[begin + i]));
      bits ^= bits >> 31 & kMagnitude;
      wrong |= static_cast<int32_t>(bits >= kInfinity) | static_cast<int32_t>(bits < kNan);
      most = bits > most ? bits : most;
    }
    most ^= most >> 31 & kMagnitude;
    *maxima = scalar::FloatOf(static_cast<uint32_t>(most));
  }
  return wrong == 0;
}

// Sums of TokenExp(logit - top) over blocks: element i in sum i mod kTokenSums, then those
// pairwise.
void TokenMasses(const float* logits, uint64_t count, double top, double* masses) {
  double weights[kTokenBlock];
  for (uint64_t begin = 0; begin < count; begin += kTokenBlock, ++masses) {
    const uint64_t own = count - begin < kTokenBlock ? count - begin : kTokenBlock;
    for (uint64_t i = own; i < kTokenBlock; ++i) weights[i] = kLeastTokenExponent;
    // Two loops: the compiler would make branches of two comparisons of one number.
    for (uint64_t i = 0; i < own; ++i) {
      const double x = static_cast<double>(logits[begin + i]) - top;
      weights[i] = x > kLeastTokenExponent ? x : kLeastTokenExponent;
    }
    for (uint64_t i = 0; i < kTokenBlock; ++i) weights[i] = TokenExpInRange(weights[i]);
    double sums[kTokenSums] = {};
    for (uint32_t i = 0; i < kTokenBlock; i += kTokenSums) {
      for (uint32_t lane = 0; lane < kTokenSums; ++lane) sums[lane] += weights[i + lane];
    }
    for (uint32_t half = kTokenSums / 2; half > 0; half /= 2) {
      for (uint32_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
    }
    *masses = sums[0];
  }
}
