// Loops over a teacher's logits that every instruction set has as they stand: the compiler makes
// vectors of them. Included inside each namespace of kernels; calls nothing from the standard
// library.

// Maxima of blocks of kTokenBlock logits; false if one of them is NaN or +infinity.
bool TokenMaxima(const float* logits, uint64_t count, float* maxima) {
  uint32_t wrong[kTokenLanes] = {};
  for (uint64_t begin = 0; begin < count; begin += kTokenBlock, ++maxima) {
    const uint64_t end = begin + kTokenBlock < count ? begin + kTokenBlock : count;
    float most[kTokenLanes];
    for (uint32_t lane = 0; lane < kTokenLanes; ++lane) most[lane] = logits[begin];
    uint64_t i = begin;
    for (; i + kTokenLanes <= end; i += kTokenLanes) {
      for (uint32_t lane = 0; lane < kTokenLanes; ++lane) {
        const float own = logits[i + lane];
        wrong[lane] |= own <= kLargestLogit ? 0u : 1u;
        most[lane] = own > most[lane] ? own : most[lane];
      }
    }
    for (; i < end; ++i) {
      wrong[0] |= logits[i] <= kLargestLogit ? 0u : 1u;
      most[0] = logits[i] > most[0] ? logits[i] : most[0];
    }
    *maxima = most[0];
    for (uint32_t lane = 1; lane < kTokenLanes; ++lane) {
      *maxima = most[lane] > *maxima ? most[lane] : *maxima;
    }
  }
  for (uint32_t lane = 1; lane < kTokenLanes; ++lane) wrong[0] |= wrong[lane];
  return wrong[0] == 0;
}

// Sums of TokenExp(logit - top) over blocks: element i in sum i mod kTokenSums, then those
// pairwise.
void TokenMasses(const float* logits, uint64_t count, double top, double* masses) {
  double weights[kTokenBlock];
  for (uint64_t begin = 0; begin < count; begin += kTokenBlock, ++masses) {
    const uint64_t own = count - begin < kTokenBlock ? count - begin : kTokenBlock;
    for (uint64_t i = 0; i < own; ++i) {
      weights[i] = TokenExp(static_cast<double>(logits[begin + i]) - top);
    }
    for (uint64_t i = own; i < kTokenBlock; ++i) weights[i] = 0;
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
