// Sixteen vectors at a time, in steps that each keep several chains of multiply-adds going: place
// them on the axes, measure how far they are outside of each cell, score the codewords of their
// first cells, list what else can be as near, score that. A cell is kParts vectors of codewords, so
// scoring costs kParts loads and multiply-adds and a broadcast per element of width. What lies
// across the sixteen vectors, a lane each, is kParts vectors too.

constexpr uint32_t kParts = kCellLevels / kLanes;
constexpr uint32_t kChains = 4;  // vectors, or pairs of a vector and a cell, side by side
static_assert(kCellRows == kCellLevels, "rows and codewords are as many");

// Scores of a vector with a cell, or a number of each of the sixteen vectors.
struct Sixteen {
  Vec parts[kParts];
};
struct SixteenLanes {
  Lanes parts[kParts];
};

constexpr uint32_t kNoLevel = ~0u;

SOFTPACK_INLINE Vec Infinity() { return Broadcast(__builtin_inff()); }

// The best of each lane of a vector's cells, the codewords, and what comes second in a lane.
struct Found {
  Sixteen scores[kCellRows];
  SixteenLanes levels[kCellRows];
  Sixteen seconds[kCellRows];
};

struct Least {
  static SOFTPACK_MEMBER_INLINE Vec Of(Vec a, Vec b) { return Less(a, b); }
};
struct Sum {
  static SOFTPACK_MEMBER_INLINE Vec Of(Vec a, Vec b) { return Add(a, b); }
};
struct LeastInteger {
  static SOFTPACK_MEMBER_INLINE Vec Of(Vec a, Vec b) {
    return AsFloats(Lower(AsLanes(a), AsLanes(b)));
  }
};

// Lane i = all lanes of rows[i], combined.
template <class Operation>
SOFTPACK_INLINE Sixteen CombineRows(const Vec* rows) {
  Sixteen combined;
  SOFTPACK_UNROLL
  for (uint32_t part = 0; part < kParts; ++part) {
    combined.parts[part] = CombineLanes<Operation>(rows + part * kLanes);
  }
  return combined;
}

template <class Operation>
SOFTPACK_INLINE Vec CombineParts(const Sixteen& values) {
  Vec combined = values.parts[0];
  SOFTPACK_UNROLL
  for (uint32_t part = 1; part < kParts; ++part) {
    combined = Operation::Of(combined, values.parts[part]);
  }
  return combined;
}

SOFTPACK_INLINE void StoreSixteen(float* to, const Sixteen& values) {
  SOFTPACK_UNROLL
  for (uint32_t part = 0; part < kParts; ++part) Store(to + part * kLanes, values.parts[part]);
}

SOFTPACK_INLINE void StoreSixteenLanes(uint32_t* to, const Sixteen& values) {
  SOFTPACK_UNROLL
  for (uint32_t part = 0; part < kParts; ++part) {
    StoreLanes(to + part * kLanes, AsLanes(values.parts[part]));
  }
}

// Lane i = the product of rows[i] with `other` [padded width], or with itself: lanes along the
// width, of fewer roundings each than a chain over all of it.
template <bool Square>
SOFTPACK_INLINE Sixteen Products(const float* const* rows, uint64_t width, const float* other) {
  Vec sums[kCellRows];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kCellRows; ++i) sums[i] = Zero();
  for (uint64_t d = 0; d < width; d += kLanes) {
    const uint32_t present = static_cast<uint32_t>(width - d);
    const Vec factors = Square ? Zero() : Load(other + d);
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kCellRows; ++i) {
      const Vec part = LoadFirst(rows[i] + d, present, Zero());
      sums[i] = Fma(part, Square ? part : factors, sums[i]);
    }
  }
  return CombineRows<Sum>(sums);
}

// distances[row][cell] = the square of how far a row is outside of a cell along the axes, and the
// cells where that is least.
SOFTPACK_INLINE void MeasureCells(const CellIndex& index, const float (*places)[kCellRows],
                                  float* distances, uint32_t* firsts) {
  Vec least[kCellRows];
  Lanes cells[kCellRows];
  for (uint32_t first = 0; first < kCellRows; first += kChains) {
    Vec best[kChains];
    Lanes where[kChains];
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kChains; ++i) {
      best[i] = Infinity();
      where[i] = LaneNumbers();
    }
    for (uint64_t cell = 0; cell < index.padded; cell += kLanes) {
      Vec sums[kChains];
      SOFTPACK_UNROLL
      for (uint32_t i = 0; i < kChains; ++i) sums[i] = Zero();
      for (uint32_t axis = 0; axis < index.axis_count; ++axis) {
        const Vec low = Load(index.least + axis * index.padded + cell);
        const Vec high = Load(index.greatest + axis * index.padded + cell);
        SOFTPACK_UNROLL
        for (uint32_t i = 0; i < kChains; ++i) {
          const Vec place = Broadcast(places[axis][first + i]);
          const Vec outside = Subtract(place, Less(Greater(place, low), high));
          sums[i] = Fma(outside, outside, sums[i]);
        }
      }
      const Lanes these = AddLanes(LaneNumbers(), BroadcastLanes(static_cast<uint32_t>(cell)));
      SOFTPACK_UNROLL
      for (uint32_t i = 0; i < kChains; ++i) {
        Store(distances + (first + i) * index.padded + cell, sums[i]);
        where[i] = ChooseLanes(IsLess(sums[i], best[i]), these, where[i]);
        best[i] = Less(sums[i], best[i]);
      }
    }
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kChains; ++i) {
      least[first + i] = best[i];
      cells[first + i] = where[i];
    }
  }
  float leasts[kCellRows];
  StoreSixteen(leasts, CombineRows<Least>(least));
  Vec chosen[kCellRows];
  for (uint32_t i = 0; i < kCellRows; ++i) {
    const Mask equal = IsEqual(least[i], Broadcast(leasts[i]));
    chosen[i] = AsFloats(ChooseLanes(equal, cells[i], BroadcastLanes(kNoLevel)));
  }
  StoreSixteenLanes(firsts, CombineRows<LeastInteger>(chosen));
}

// Scores of kChains cells, each against its row, as KernelTable::nearest takes them.
SOFTPACK_INLINE void ScoreCells(const CellIndex& index, const float* const* rows,
                                const uint32_t* cells, Sixteen* scores) {
  const float* codewords[kChains];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kChains; ++i) {
    codewords[i] = index.codewords + cells[i] * (index.width + 1) * kCellLevels;
    SOFTPACK_UNROLL
    for (uint32_t part = 0; part < kParts; ++part) {
      scores[i].parts[part] = Load(codewords[i] + part * kLanes);
    }
  }
  for (uint64_t d = 0; d < index.width; ++d) {
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kChains; ++i) {
      codewords[i] += kCellLevels;
      const Vec value = Broadcast(rows[i][d]);
      SOFTPACK_UNROLL
      for (uint32_t part = 0; part < kParts; ++part) {
        Vec* const score = &scores[i].parts[part];
        *score = NegatedFma(value, Load(codewords[i] + part * kLanes), *score);
      }
    }
  }
}

// The cells that can hold a codeword that is as near, but for the first, are listed as row * 2^16 +
// cell. Returns the length of the list.
SOFTPACK_INLINE uint32_t ListCells(const CellIndex& index, const CellCall& call,
                                   const uint32_t* firsts, const float* bounds, uint32_t decided,
                                   uint32_t* undecided) {
  uint32_t length = 0;
  for (uint32_t i = 0; i < call.count; ++i) {
    if ((decided >> i & 1) == 0) {
      *undecided |= 1u << i;
      continue;
    }
    const Vec bound = Broadcast(bounds[i]);
    const Lanes first = BroadcastLanes(i << 16 | firsts[i]);
    Lanes these = AddLanes(LaneNumbers(), BroadcastLanes(i << 16));
    const uint32_t start = length;
    for (uint64_t cell = 0; cell < index.padded; cell += kLanes) {
      const Vec distances = Load(call.distances + i * index.padded + cell);
      const Mask near = Without(IsAtMost(distances, bound), AreSame(these, first));
      length += AppendWhere(call.list + length, near, these);
      these = AddLanes(these, BroadcastLanes(kLanes));
    }
    if (length - start >= call.most) {
      length = start;
      *undecided |= 1u << i;
    }
  }
  return length;
}

template <bool Margins>
SOFTPACK_INLINE void Keep(const CellIndex& index, uint32_t row, uint32_t cell,
                          const Sixteen& scores, Found* found) {
  SOFTPACK_UNROLL
  for (uint32_t part = 0; part < kParts; ++part) {
    const Lanes levels = LoadLanes(index.levels + uint64_t{cell} * kCellLevels + part * kLanes);
    Vec* const best = &found->scores[row].parts[part];
    Lanes* const best_levels = &found->levels[row].parts[part];
    const Vec score = scores.parts[part];
    if (Margins) {
      Vec* const second = &found->seconds[row].parts[part];
      *second = Less(*second, Greater(*best, score));
    }
    const Mask tied = And(IsEqual(score, *best), IsLower(levels, *best_levels));
    const Mask better = Or(IsLess(score, *best), tied);
    *best = Less(score, *best);
    *best_levels = ChooseLanes(better, levels, *best_levels);
  }
}

template <bool Margins>
SOFTPACK_INLINE void GiveFound(const CellCall& call, const Found& found, uint32_t undecided) {
  Vec rows[kCellRows];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kCellRows; ++i) rows[i] = CombineParts<Least>(found.scores[i]);
  float least[kCellRows], next[kCellRows];
  uint32_t levels[kCellRows];
  StoreSixteen(least, CombineRows<Least>(rows));
  Vec nearest[kCellRows];
  uint32_t ties = 0;
  for (uint32_t i = 0; i < kCellRows; ++i) {
    // The second of all is the best of another lane, or the second of any.
    Sixteen lowest, others;
    uint32_t equal_lanes = 0;
    for (uint32_t part = 0; part < kParts; ++part) {
      const Vec scores = found.scores[i].parts[part];
      const Mask equal = IsEqual(scores, Broadcast(least[i]));
      lowest.parts[part] =
          AsFloats(ChooseLanes(equal, found.levels[i].parts[part], BroadcastLanes(kNoLevel)));
      if (Margins) {
        others.parts[part] = Less(Choose(equal, Infinity(), scores), found.seconds[i].parts[part]);
        equal_lanes |= BitsOf(equal) << (part * kLanes);
      }
    }
    nearest[i] = CombineParts<LeastInteger>(lowest);
    if (Margins) {
      rows[i] = CombineParts<Least>(others);
      if ((equal_lanes & (equal_lanes - 1)) != 0) ties |= 1u << i;
    }
  }
  StoreSixteenLanes(levels, CombineRows<LeastInteger>(nearest));
  if (Margins) StoreSixteen(next, CombineRows<Least>(rows));
  for (uint32_t i = 0; i < call.count; ++i) {
    if ((undecided >> i & 1) != 0) continue;
    call.out[i] = static_cast<uint16_t>(levels[i]);
    if (Margins) call.margins[i] = (ties >> i & 1) != 0 ? 0.0f : next[i] - least[i];
  }
}

// Returns the rows whose bound is good; nothing overflows in these.
SOFTPACK_INLINE uint32_t BoundsOf(const CellIndex& index, const CellCall& call,
                                  const Sixteen& squares, const Found& found, float* bounds) {
  Vec rows[kCellRows];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kCellRows; ++i) rows[i] = CombineParts<Least>(found.scores[i]);
  const Sixteen best = CombineRows<Least>(rows);
  uint32_t decided = 0;
  SOFTPACK_UNROLL
  for (uint32_t part = 0; part < kParts; ++part) {
    const uint32_t first = part * kLanes;
    const Vec own = squares.parts[part];
    const Mask normal =
        And(IsAtMost(Broadcast(kLeastSquare), own), IsAtMost(own, Broadcast(kGreatestSquare)));
    Vec square = Add(own, Add(best.parts[part], best.parts[part]));
    square = Fma(Broadcast(index.of_square), own, square);
    if (call.slack != nullptr && call.count > first) {
      const uint32_t present = static_cast<uint32_t>(call.count) - first;
      square = Fma(Broadcast(2.001f), LoadFirst(call.slack + first, present, Zero()), square);
    }
    const Vec length = SquareRoot(Greater(square, Zero()));
    const Vec sum = Fma(Broadcast(index.of_length), SquareRoot(own), length);
    const Vec bound = Times(Times(sum, sum), Broadcast(kCellExcess));
    decided |= BitsOf(And(normal, IsLess(bound, Broadcast(kNoCell)))) << first;
    Store(bounds + first, bound);
  }
  return decided;
}

template <bool Margins>
SOFTPACK_INLINE CellResult FindRows(const CellIndex& index, const CellCall& call) {
  const float* rows[kCellRows];
  for (uint32_t i = 0; i < kCellRows; ++i) {
    // Rows beyond the last repeat it.
    rows[i] = call.vectors + (i < call.count ? i : call.count - 1) * index.width;
  }
  float places[kCellAxes][kCellRows];
  uint32_t firsts[kCellRows];
  const Sixteen squares = Products<true>(rows, index.width, nullptr);
  for (uint32_t axis = 0; axis < index.axis_count; ++axis) {
    const float* const along = index.axes + axis * index.stride;
    StoreSixteen(places[axis], Products<false>(rows, index.width, along));
  }
  MeasureCells(index, places, call.distances, firsts);
  Found found;
  for (uint32_t i = 0; i < kCellRows; i += kChains) {
    uint32_t cells[kChains];
    SOFTPACK_UNROLL
    for (uint32_t j = 0; j < kChains; ++j) {
      // A vector that is not finite may have none.
      cells[j] = firsts[i + j] < index.cells ? firsts[i + j] : 0;
    }
    ScoreCells(index, rows + i, cells, found.scores + i);
    SOFTPACK_UNROLL
    for (uint32_t j = 0; j < kChains; ++j) {
      const uint32_t* const levels = index.levels + uint64_t{cells[j]} * kCellLevels;
      for (uint32_t part = 0; part < kParts; ++part) {
        found.levels[i + j].parts[part] = LoadLanes(levels + part * kLanes);
        found.seconds[i + j].parts[part] = Infinity();
      }
    }
  }
  float bounds[kCellRows];
  const uint32_t decided = BoundsOf(index, call, squares, found, bounds);
  uint32_t undecided = 0;
  const uint32_t length = ListCells(index, call, firsts, bounds, decided, &undecided);
  for (uint32_t n = 0; n < length; n += kChains) {
    uint32_t cells[kChains], at[kChains];
    const float* vectors[kChains];
    Sixteen scores[kChains];
    for (uint32_t j = 0; j < kChains; ++j) {
      // Pairs beyond the last repeat it, and are not kept.
      const uint32_t pair = call.list[n + j < length ? n + j : length - 1];
      at[j] = pair >> 16;
      cells[j] = pair & 0xffff;
      vectors[j] = rows[at[j]];
    }
    ScoreCells(index, vectors, cells, scores);
    for (uint32_t j = 0; j < kChains && n + j < length; ++j) {
      Keep<Margins>(index, at[j], cells[j], scores[j], &found);
    }
  }
  GiveFound<Margins>(call, found, undecided);
  return {call.count + length, undecided};
}

CellResult FindCells(const CellIndex& index, const CellCall& call) {
  return call.margins == nullptr ? FindRows<false>(index, call) : FindRows<true>(index, call);
}
