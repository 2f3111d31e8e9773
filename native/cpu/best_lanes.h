// Best of all lanes, for instruction sets that do not combine the lanes of a vector in a few steps.
// Included after the vectors that it is written in.
uint16_t LowestOfBest(Best best) {
  float scores[kLanes];
  uint32_t indices[kLanes];
  StoreBest(best, scores, indices);
  uint32_t lane = 0;
  for (uint32_t i = 1; i < kLanes; ++i) {
    const bool better =
        scores[i] < scores[lane] || (scores[i] == scores[lane] && indices[i] < indices[lane]);
    if (better) lane = i;
  }
  return static_cast<uint16_t>(indices[lane]);
}
