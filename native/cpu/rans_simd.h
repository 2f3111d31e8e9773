// rANS in vectors of `LaneWords::kWidth` lanes, which rans_avx2.h or rans_avx512.h defines.
// Included inside a target region and the namespace of its kernels.

// Values of whole groups of lanes while the words of a group are certainly there.
template <class Words, uint32_t Vectors>
uint64_t DecodeRansGroups(RansReader* reader, const RansRow& row) {
  constexpr uint32_t kGroup = Words::kWidth * Vectors;
  typename Words::Vector states[Vectors];
  SOFTPACK_UNROLL
  for (uint32_t v = 0; v < Vectors; ++v) {
    states[v] = Words::Load(reader->states + v * Words::kWidth);
  }
  const uint8_t* next = reader->next;
  uint64_t i = 0;
  for (; i + kGroup <= row.count && reader->end - next >= 2 * static_cast<int64_t>(kGroup);
       i += kGroup) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < Vectors; ++v) {
      const uint64_t at = i + v * Words::kWidth;
      const auto first = Words::FirstEntries(row, at);
      const auto entries = Words::Gather(row.tables, first, states[v]);
      states[v] = Words::Step(states[v], entries);
      Words::StoreValues(row.out + at, entries);
      next += 2 * Words::Refill(&states[v], next);
    }
  }
  SOFTPACK_UNROLL
  for (uint32_t v = 0; v < Vectors; ++v) {
    Words::Store(reader->states + v * Words::kWidth, states[v]);
  }
  reader->next = next;
  return i;
}

bool DecodeRansRow(RansReader* reader, const RansRow& row) {
  uint64_t done = 0;
  if (reader->lanes == 32) done = DecodeRansGroups<LaneWords, 32 / LaneWords::kWidth>(reader, row);
  if (reader->lanes == 16) done = DecodeRansGroups<LaneWords, 16 / LaneWords::kWidth>(reader, row);
  if (reader->lanes == 8) done = DecodeRansGroups<EightWords, 1>(reader, row);
  return DecodeRansValues(reader, row, done, row.count);
}

// 16 columns at a time; a state is a byte, and both tables fit into a byte shuffle.
void AdvanceRansTrellis(const RansTrellis& trellis, const int16_t* values, uint64_t count,
                        uint8_t* states, uint8_t* contexts) {
  const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(trellis.next));
  const __m128i context = _mm_loadu_si128(reinterpret_cast<const __m128i*>(trellis.context));
  const __m128i one = _mm_set1_epi16(1);
  uint64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m128i* const from = reinterpret_cast<const __m128i*>(values + i);
    const __m128i parity = _mm_packus_epi16(_mm_and_si128(_mm_loadu_si128(from), one),
                                            _mm_and_si128(_mm_loadu_si128(from + 1), one));
    __m128i* const state = reinterpret_cast<__m128i*>(states + i);
    const __m128i now = _mm_loadu_si128(state);
    const __m128i moved = _mm_shuffle_epi8(next, _mm_add_epi8(_mm_add_epi8(now, now), parity));
    _mm_storeu_si128(state, moved);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(contexts + i), _mm_shuffle_epi8(context, moved));
  }
  AdvanceTrellis(trellis, values, i, count, states, contexts);
}
