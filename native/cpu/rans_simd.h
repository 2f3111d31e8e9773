// rANS in vectors of `LaneWords::kWidth` lanes, which rans_avx2.h, rans_avx512.h or rans_neon.h
// defines. Included inside a target region and the namespace of its kernels.

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

void AdvanceRansTrellis(const RansTrellis& trellis, const int16_t* values, uint64_t count,
                        uint8_t* states, uint8_t* contexts) {
  uint64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    AdvanceSixteen(trellis, values + i, states + i, contexts + i);
  }
  AdvanceTrellis(trellis, values, i, count, states, contexts);
}
