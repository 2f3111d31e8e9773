// Sums of looked-up rows and their building, over the vectors of a simd_<isa>.h; included by
// kernels_simd.h.
//
// A sum stays in registers over all stages of one call: a line is read for each stage and 64 bytes
// of columns, and nothing else but the indices. Bound by how fast lines come from where the rows
// lie.

SOFTPACK_INLINE Vec LoadElements(const float* from) { return Load(from); }
SOFTPACK_INLINE void StoreElements(float* to, Vec a) { Store(to, a); }
SOFTPACK_INLINE Vec AddElements(Vec a, Vec b) { return Add(a, b); }

// Sums of Vectors vectors of columns, from column `first` on, for every label.
template <class T, uint32_t Vectors>
void SumColumns(const RowSums<T>& sums, uint32_t first) {
  constexpr uint32_t kElements = 4 * kLanes / sizeof(T);
  const T* const rows = sums.rows + first;
  for (uint64_t i = 0; i < sums.labels; ++i) {
    const uint16_t* const indices = sums.indices + i * sums.index_stride;
    T* const panel = sums.panel + i * sums.width + first;
    const T* const start = sums.start == nullptr ? panel : sums.start + first;
    decltype(LoadElements(rows)) total[Vectors];
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < Vectors; ++v) total[v] = LoadElements(start + v * kElements);
    const T* stage = rows;
    for (uint64_t s = 0; s < sums.stages; ++s, stage += sums.stage_stride) {
      const T* const row = stage + uint64_t{indices[s]} * sums.width;
      SOFTPACK_UNROLL
      for (uint32_t v = 0; v < Vectors; ++v) {
        total[v] = AddElements(total[v], LoadElements(row + v * kElements));
      }
    }
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < Vectors; ++v) StoreElements(panel + v * kElements, total[v]);
  }
}

template <class T>
void SumRows(const RowSums<T>& sums) {
  constexpr uint32_t kElements = 4 * kLanes / sizeof(T);
  for (uint32_t first = 0; first < sums.width;) {
    const uint32_t vectors = (sums.width - first) / kElements;
    if (vectors >= kSumVectors) {
      SumColumns<T, kSumVectors>(sums, first);
      first += kSumVectors * kElements;
    } else if (vectors >= 4) {
      SumColumns<T, 4>(sums, first);
      first += 4 * kElements;
    } else if (vectors >= 2) {
      SumColumns<T, 2>(sums, first);
      first += 2 * kElements;
    } else {
      SumColumns<T, 1>(sums, first);
      first += kElements;
    }
  }
}

// A column block of kSumVectors vectors at a time, so that its chains overlap.
void WeighRows(const float* rows, uint64_t stride, const uint16_t* list, const float* weights,
               uint64_t count, uint64_t columns, float* out) {
  constexpr uint64_t kBlock = kSumVectors * kLanes;
  for (uint64_t first = 0; first < columns; first += kBlock) {
    const uint64_t vectors =
        columns - first < kBlock ? (columns - first + kLanes - 1) / kLanes : kSumVectors;
    Vec sums[kSumVectors];
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kSumVectors; ++v) sums[v] = Zero();
    for (uint64_t i = 0; i < count; ++i) {
      const float* const row = rows + list[i] * stride + first;
      const Vec weight = Broadcast(weights[i]);
      if (vectors == kSumVectors) {
        SOFTPACK_UNROLL
        for (uint32_t v = 0; v < kSumVectors; ++v) {
          sums[v] = Fma(weight, Load(row + v * kLanes), sums[v]);
        }
      } else {
        SOFTPACK_UNROLL
        for (uint32_t v = 0; v < kSumVectors; ++v) {
          if (v < vectors) sums[v] = Fma(weight, Load(row + v * kLanes), sums[v]);
        }
      }
    }
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kSumVectors; ++v) {
      if (v < vectors) Store(out + first + v * kLanes, sums[v]);
    }
  }
}

// Eight chains side by side hide the latency of one.
void ChainColumns(const float* rows, uint64_t stride, const float* weights, uint64_t count,
                  const uint32_t* starts, uint64_t chains, float* out) {
  constexpr uint32_t kVectors = kChainFloats / kLanes;
  constexpr uint32_t kTogether = 8 / kVectors;
  for (uint64_t first = 0; first < chains; first += kTogether) {
    Vec sums[kTogether][kVectors];
    const float* columns[kTogether];
    SOFTPACK_UNROLL
    for (uint32_t c = 0; c < kTogether; ++c) {
      // Chains beyond the last repeat it; their results are dropped.
      columns[c] = rows + starts[first + c < chains ? first + c : chains - 1];
      SOFTPACK_UNROLL
      for (uint32_t v = 0; v < kVectors; ++v) sums[c][v] = Zero();
    }
    for (uint64_t i = 0; i < count; ++i) {
      const Vec weight = Broadcast(weights[i]);
      SOFTPACK_UNROLL
      for (uint32_t c = 0; c < kTogether; ++c) {
        SOFTPACK_UNROLL
        for (uint32_t v = 0; v < kVectors; ++v) {
          sums[c][v] = Fma(weight, Load(columns[c] + i * stride + v * kLanes), sums[c][v]);
        }
      }
    }
    for (uint32_t c = 0; c < kTogether && first + c < chains; ++c) {
      for (uint32_t v = 0; v < kVectors; ++v) {
        Store(out + (first + c) * kChainFloats + v * kLanes, sums[c][v]);
      }
    }
  }
}

void WidenRange(const float* values, uint64_t length, float* least, float* greatest) {
  for (uint64_t j = 0; j < length; j += kLanes) {
    const Vec value = Load(values + j);
    Store(least + j, Less(value, Load(least + j)));
    Store(greatest + j, Greater(value, Load(greatest + j)));
  }
}

void ToFixed(const float* values, const float* middle, const float* inverse_step, uint64_t length,
             int16_t* out) {
  const auto scaled = [&](uint64_t j) {
    return Times(Subtract(Load(values + j), Load(middle + j)), Load(inverse_step + j));
  };
  for (uint64_t block = 0; block < length; block += 32) {
    for (uint64_t i = 0; i < 16; i += kLanes) {
      const Words words = ToWords(scaled(block + i), scaled(block + 16 + i));
      StoreElements(out + block + 2 * i, words);
    }
  }
}

void ToBfloat(const float* values, uint64_t length, uint16_t* high, uint16_t* low) {
  uint64_t j = 0;
  for (; j + kLanes <= length; j += kLanes) {
    const Vec value = Load(values + j);
    StoreBfloat(high + j, value);
    if (low != nullptr) StoreBfloat(low + j, Subtract(value, LoadBfloat(high + j)));
  }
  for (; j < length; ++j) {
    high[j] = scalar::FloatToBfloat(values[j]);
    if (low != nullptr) low[j] = scalar::LowBfloat(values[j]);
  }
}

void AddPrediction(const float* a, const float* b, float weight, uint64_t length, float* values) {
  const Vec first = Broadcast(weight), second = Broadcast(1.0f - weight);
  for (uint64_t j = 0; j < length; j += kLanes) {
    const Vec value = Fma(second, Load(b + j), Load(values + j));
    Store(values + j, Fma(first, Load(a + j), value));
  }
}
