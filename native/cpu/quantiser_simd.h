// core/quantiser.h in vectors: `Doubles` of quantiser_avx2.h, quantiser_avx512.h or
// quantiser_neon.h, a lane a label. Included inside a target region and the namespace of its
// kernels.

// Sums of so many rows at once: each addition waits for the one before it in its row.
constexpr uint32_t kCentredRows = 8;

template <uint32_t Rows>
void CentreRowsOf(const float* logits, uint64_t classes, double depth, const float* mean,
                  float* out) {
  double least[Rows], sums[Rows] = {};
  for (uint32_t i = 0; i < Rows; ++i) {
    least[i] = static_cast<double>(GreatestOf(logits + i * classes, classes)) - depth;
  }
  for (uint64_t j = 0; j < classes; ++j) {
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < Rows; ++i) sums[i] += AtLeast(logits[i * classes + j], least[i]);
  }
  for (uint32_t i = 0; i < Rows; ++i, logits += classes, out += classes) {
    const double centre = sums[i] / static_cast<double>(classes);
    const double bound = least[i];
    if (mean == nullptr) {
      for (uint64_t j = 0; j < classes; ++j) {
        out[j] = static_cast<float>(AtLeast(logits[j], bound) - centre);
      }
    } else {
      for (uint64_t j = 0; j < classes; ++j) {
        out[j] = static_cast<float>(AtLeast(logits[j], bound) - centre - mean[j]);
      }
    }
  }
}

void CentreRows(const float* logits, uint64_t rows, uint64_t classes, double depth,
                const float* mean, float* out) {
  uint64_t row = 0;
  for (; row + kCentredRows <= rows; row += kCentredRows) {
    CentreRowsOf<kCentredRows>(logits + row * classes, classes, depth, mean, out + row * classes);
  }
  for (; row < rows; ++row) {
    CentreRowsOf<1>(logits + row * classes, classes, depth, mean, out + row * classes);
  }
}

// A way into a state: where it comes from, and the choice of an index, 2 * context + parity.
struct Way {
  uint8_t from;
  uint8_t choice;
};

template <uint32_t States>
struct Ways {
  Way of[States][2];  // in the order of `from`
};

template <uint32_t States>
constexpr Ways<States> MakeWays(const RansTrellis& trellis) {
  Ways<States> ways = {};
  uint32_t found[States] = {};
  for (uint32_t state = 0; state < States; ++state) {
    for (uint32_t parity = 0; parity < 2; ++parity) {
      const uint8_t to = trellis.next[2 * state + parity];
      const auto choice = static_cast<uint8_t>(2 * trellis.context[state] + parity);
      ways.of[to][found[to]++] = {static_cast<uint8_t>(state), choice};
    }
  }
  return ways;
}

template <uint32_t States>
constexpr Ways<States> kWays = MakeWays<States>(States == 4 ? kRansTrellis4 : kRansTrellis8);

struct Choice {
  Doubles::Vector cost;
  Doubles::Vector index;  // without its sign
};

// `second` where it costs less, else `first`.
SOFTPACK_INLINE Choice BetterOf(const Choice& first, const Choice& second) {
  const Doubles::Mask less = Doubles::NotAtLeast(second.cost, first.cost);
  return {Doubles::Blend(less, first.cost, second.cost),
          Doubles::Blend(less, first.index, second.index)};
}

struct SearchedValues {
  Doubles::Vector size;
  Doubles::Mask negative;
  Doubles::Vector shift;
};

// Index `k` of context 0 or 1; infinitely dear where it is not above zero. `zero` is the cost of
// index 0.
SOFTPACK_INLINE Choice Candidate(const SearchedValues& values, Doubles::Vector k, double context,
                                 const double* zero) {
  const auto multiple = Doubles::Minus(Doubles::Plus(k, k), Doubles::Set(context));
  const auto error = Doubles::Minus(values.size, Doubles::Minus(multiple, values.shift));
  const auto listed = Doubles::Less(k, Doubles::Set(128));
  const auto own = Doubles::Negate(values.negative, k);
  const auto index = Doubles::Blend(listed, Doubles::Set(-128), own);
  const auto cost = Doubles::Plus(Doubles::Times(error, error), Doubles::Gather(zero, index));
  const auto above = Doubles::Less(Doubles::Set(0), k);
  return {Doubles::Blend(above, Doubles::Set(__builtin_inf()), cost), k};
}

// The best index of each parity in a context.
SOFTPACK_INLINE void Collect(const SearchedValues& values, double context, const double* costs,
                             Choice* even, Choice* odd) {
  const double* const zero = costs + 128;
  const auto one = Doubles::Set(1);
  const auto reach = Doubles::Plus(Doubles::Plus(values.size, values.shift), Doubles::Set(context));
  const auto below = Doubles::Floor(Doubles::Times(reach, Doubles::Set(0.5)));
  const Choice own = Candidate(values, below, context, zero);
  // The neighbours have the other parity.
  const Choice other = BetterOf(Candidate(values, Doubles::Minus(below, one), context, zero),
                                Candidate(values, Doubles::Plus(below, one), context, zero));
  const auto half = Doubles::Times(below, Doubles::Set(0.5));
  const Doubles::Mask is_odd = Doubles::Less(Doubles::Floor(half), half);
  const Choice none = {Doubles::Plus(Doubles::Times(values.size, values.size), Doubles::Set(*zero)),
                       Doubles::Set(0)};
  *even = BetterOf(none, {Doubles::Blend(is_odd, own.cost, other.cost),
                          Doubles::Blend(is_odd, own.index, other.index)});
  *odd = {Doubles::Blend(is_odd, other.cost, own.cost),
          Doubles::Blend(is_odd, other.index, own.index)};
}

template <uint32_t States>
SOFTPACK_INLINE void Advance(const Choice* choices, Doubles::Vector* costs, uint8_t* ways) {
  Doubles::Vector next[States];
  SOFTPACK_UNROLL
  for (uint32_t to = 0; to < States; ++to) {
    constexpr Ways<States> kAll = kWays<States>;
    const Way first = kAll.of[to][0], second = kAll.of[to][1];
    const auto a = Doubles::Plus(costs[first.from], choices[first.choice].cost);
    const auto b = Doubles::Plus(costs[second.from], choices[second.choice].cost);
    const Doubles::Mask less = Doubles::NotAtLeast(b, a);
    next[to] = Doubles::Blend(less, a, b);
    ways[to] = static_cast<uint8_t>(Doubles::Bits(less));
  }
  SOFTPACK_UNROLL
  for (uint32_t state = 0; state < States; ++state) costs[state] = next[state];
}

// Writes the indices on the ways that end at `costs`.
template <uint32_t States>
void TraceWays(const Doubles::Vector* costs, const SearchScratch& scratch, uint64_t rank,
               uint32_t labels, int16_t* out) {
  double ends[States][Doubles::kWidth];
  for (uint32_t state = 0; state < States; ++state) Doubles::Store(ends[state], costs[state]);
  uint32_t states[Doubles::kWidth] = {};
  for (uint32_t i = 0; i < labels; ++i) {
    for (uint32_t state = 1; state < States; ++state) {
      if (ends[state][i] < ends[states[i]][i]) states[i] = state;
    }
  }
  for (uint64_t j = rank; j-- > 0;) {
    const uint8_t* const ways = scratch.ways + j * kSearchStates;
    const int32_t* const indices = scratch.indices + j * kSearchIndices * kSearchLanes;
    for (uint32_t i = 0; i < labels; ++i) {
      const Way way = kWays<States>.of[states[i]][ways[states[i]] >> i & 1];
      out[i * rank + j] = static_cast<int16_t>(indices[way.choice * kSearchLanes + i]);
      states[i] = way.from;
    }
  }
}

// As many labels as a vector has lanes; those beyond `labels` repeat the last.
template <uint32_t States>
void SearchLabels(const TrellisSearch& search, const SearchScratch& scratch, const float* values,
                  uint32_t labels, int16_t* out) {
  const uint64_t rank = search.rank;
  for (uint32_t i = 0; i < Doubles::kWidth; ++i) {
    const float* const from = values + (i < labels ? i : labels - 1) * rank;
    for (uint64_t j = 0; j < rank; ++j) {
      scratch.quotients[i * rank + j] =
          static_cast<float>(static_cast<double>(from[j]) / search.unit);
    }
  }
  Doubles::Vector costs[States];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < States; ++i) costs[i] = Doubles::Set(i == 0 ? 0 : __builtin_inf());
  for (uint64_t j = 0; j < rank; ++j) {
    const auto value = Doubles::Strided(scratch.quotients + j, rank);
    const SearchedValues searched = {
        Doubles::AtMost(Doubles::Magnitude(value), Doubles::Set(kMostUnits)),
        Doubles::Less(value, Doubles::Set(0)), Doubles::Set(search.shifts[j] / kShiftUnit)};
    const double* const costs_of = search.costs + 2 * j * kRansSymbols;
    Choice choices[kSearchIndices];
    Collect(searched, 0, costs_of, &choices[0], &choices[1]);
    Collect(searched, 1, costs_of + kRansSymbols, &choices[2], &choices[3]);
    Advance<States>(choices, costs, scratch.ways + j * kSearchStates);
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kSearchIndices; ++i) {
      Doubles::StoreIntegers(scratch.indices + (j * kSearchIndices + i) * kSearchLanes,
                             Doubles::Negate(searched.negative, choices[i].index));
    }
  }
  TraceWays<States>(costs, scratch, rank, labels, out);
}

void SearchTrellis(const TrellisSearch& search, const SearchScratch& scratch, const float* values,
                   uint64_t labels, int16_t* out) {
  for (uint64_t first = 0; first < labels; first += Doubles::kWidth) {
    const uint64_t left = labels - first;
    const auto count = static_cast<uint32_t>(left < Doubles::kWidth ? left : Doubles::kWidth);
    const uint64_t at = first * search.rank;
    if (search.states == 4)
      SearchLabels<4>(search, scratch, values + at, count, out + at);
    else
      SearchLabels<8>(search, scratch, values + at, count, out + at);
  }
}
