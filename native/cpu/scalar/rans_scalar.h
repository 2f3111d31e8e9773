// rANS one value after the other, for kernels_scalar.cc. Included inside the namespace of its
// kernels.

bool DecodeRansRow(RansReader* reader, const RansRow& row) {
  return DecodeRansValues(reader, row, 0, row.count);
}

void AdvanceRansTrellis(const RansTrellis& trellis, const int16_t* values, uint64_t count,
                        uint8_t* states, uint8_t* contexts) {
  AdvanceTrellis(trellis, values, 0, count, states, contexts);
}
