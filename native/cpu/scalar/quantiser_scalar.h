// core/quantiser.h one label after the other, for kernels_scalar.cc. Included inside the namespace
// of its kernels.

void CentreRows(const float* logits, uint64_t rows, uint64_t classes, double depth,
                const float* mean, float* out) {
  for (uint64_t row = 0; row < rows; ++row, logits += classes, out += classes) {
    float most = -std::numeric_limits<float>::infinity();
    for (uint64_t j = 0; j < classes; ++j) most = logits[j] > most ? logits[j] : most;
    const double least = static_cast<double>(most) - depth;
    double sum = 0;
    for (uint64_t j = 0; j < classes; ++j) sum += AtLeast(logits[j], least);
    const double centre = sum / static_cast<double>(classes);
    for (uint64_t j = 0; j < classes; ++j) {
      const double own = mean == nullptr ? 0 : mean[j];
      out[j] = static_cast<float>(AtLeast(logits[j], least) - centre - own);
    }
  }
}

// Indices of one component to choose from, at 2 * context + parity; infinity where there is none.
struct Choices {
  double costs[kSearchIndices];
  int32_t indices[kSearchIndices];

  void Offer(uint32_t subset, int32_t index, double cost) {
    if (cost >= costs[subset]) return;
    costs[subset] = cost;
    indices[subset] = index;
  }

  // Offers the indices that may be best for a value of this size. `costs_of` are the component's.
  void Collect(double size, bool negative, double shift, const double* costs_of) {
    for (uint32_t i = 0; i < kSearchIndices; ++i) {
      costs[i] = std::numeric_limits<double>::infinity();
      indices[i] = 0;
    }
    for (uint32_t context = 0; context < 2; ++context) {
      // Multiples are 2 k - context: the one below the value, its neighbours and zero.
      const double* const zero = costs_of + context * kRansSymbols + 128;
      const auto below = static_cast<int32_t>(std::floor((size + shift + context) / 2));
      Offer(2 * context, 0, size * size + *zero);
      for (int32_t k = below > 2 ? below - 1 : 1; k <= below + 1; ++k) {
        const double error = size - (2.0 * k - context - shift);
        const double cost = zero[k >= 128 ? -128 : negative ? -k : k];
        Offer(2 * context + (k & 1), negative ? -k : k, error * error + cost);
      }
    }
  }
};

void SearchTrellis(const TrellisSearch& search, const SearchScratch& scratch, const float* values,
                   uint64_t labels, int16_t* out) {
  const RansTrellis& trellis = *RansTrellisOf(search.states);
  const uint64_t rank = search.rank;
  for (uint64_t label = 0; label < labels; ++label, values += rank, out += rank) {
    double costs[kSearchStates];
    std::fill_n(costs, kSearchStates, std::numeric_limits<double>::infinity());
    costs[0] = 0;
    for (uint64_t j = 0; j < rank; ++j) {
      const auto value = static_cast<float>(static_cast<double>(values[j]) / search.unit);
      const double size = std::fabs(static_cast<double>(value));
      Choices choices;
      choices.Collect(size < kMostUnits ? size : kMostUnits, value < 0,
                      search.shifts[j] / kShiftUnit, search.costs + 2 * j * kRansSymbols);
      double next[kSearchStates];
      std::fill_n(next, kSearchStates, std::numeric_limits<double>::infinity());
      std::fill_n(scratch.ways + j * kSearchStates, kSearchStates, uint8_t{0});
      // The way into a state: four times the state that it comes from, plus the choice.
      for (uint32_t state = 0; state < search.states; ++state) {
        for (uint32_t parity = 0; parity < 2; ++parity) {
          const uint32_t choice = 2u * trellis.context[state] + parity;
          const double cost = costs[state] + choices.costs[choice];
          const uint8_t to = trellis.next[2 * state + parity];
          if (cost >= next[to]) continue;
          next[to] = cost;
          scratch.ways[j * kSearchStates + to] = static_cast<uint8_t>(4 * state + choice);
        }
      }
      std::copy_n(next, kSearchStates, costs);
      std::copy_n(choices.indices, kSearchIndices, scratch.indices + j * kSearchIndices);
    }
    uint32_t state = 0;
    for (uint32_t i = 1; i < search.states; ++i) {
      if (costs[i] < costs[state]) state = i;
    }
    for (uint64_t j = rank; j-- > 0;) {
      const uint8_t way = scratch.ways[j * kSearchStates + state];
      out[j] = static_cast<int16_t>(scratch.indices[j * kSearchIndices + way % 4]);
      state = way / 4;
    }
  }
}
