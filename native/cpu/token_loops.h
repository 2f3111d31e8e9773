// Loops over a teacher's logits and over labels' bits that every instruction set has as they stand:
// the compiler makes vectors of the former, and shifts of the latter that need no flags. Included
// inside each namespace of kernels; calls nothing from the standard library.

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

// In passes, each of which the compiler makes into vectors.
void TokenExps(const float* logs, uint32_t count, double* exps) {
  for (uint32_t i = 0; i < count; ++i) {
    const double x = static_cast<double>(logs[i]);
    exps[i] = x > kLeastTokenExponent ? x : kLeastTokenExponent;
  }
  for (uint32_t i = 0; i < count; ++i) exps[i] = TokenExpInRange(exps[i]);
  for (uint32_t i = 0; i < count; ++i) {
    exps[i] = logs[i] == logs[i] ? exps[i] : static_cast<double>(logs[i]);
  }
}

template <uint32_t N>
SOFTPACK_INLINE void ReadSets(const TokenNode* nodes, uint32_t size, uint64_t range,
                              TokenBits* const* readers, uint32_t* const* sets) {
  TokenBits bits[N];
  for (uint32_t i = 0; i < N; ++i) {
    bits[i] = *readers[i];
    sets[i][0] = 0;
    sets[i][size + 1] = static_cast<uint32_t>(range + 1);
  }
  for (uint32_t n = 0; n < size; ++n) {
    const TokenNode node = nodes[n];
    const uint32_t before = node.at - node.left;
    const uint32_t after = node.right - node.at;
    for (uint32_t i = 0; i < N; ++i) {
      uint32_t* const set = sets[i];
      const uint32_t least = set[node.left] + before;
      const uint32_t most = set[node.right] - after;
      set[node.at] = least + bits[i].ReadBelow(most - least + 1);
    }
  }
  for (uint32_t i = 0; i < N; ++i) *readers[i] = bits[i];
}

void ReadTokenSets(const TokenNode* nodes, uint32_t size, uint64_t range, uint32_t lanes,
                   TokenBits* const* readers, uint32_t* const* sets) {
  switch (lanes) {
    case 4:
      return ReadSets<4>(nodes, size, range, readers, sets);
    case 3:
      return ReadSets<3>(nodes, size, range, readers, sets);
    case 2:
      return ReadSets<2>(nodes, size, range, readers, sets);
    default:
      return ReadSets<1>(nodes, size, range, readers, sets);
  }
}
