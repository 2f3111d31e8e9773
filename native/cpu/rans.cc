#include "core/rans.h"

#include <algorithm>
#include <vector>

#include "cpu/kernel_table.h"

namespace softpack {
namespace {

// A stream has as many lanes as leave the bytes of their states below 1 % of it.
constexpr uint64_t kBytesPerLane = 512;

// A shape with its own copy of `row_tables`: callers' memory may be shared with other threads.
class CheckedShape {
 public:
  // False if the shape contradicts itself.
  bool Read(const RansShape& shape) {
    trellis_ = RansTrellisOf(shape.trellis);
    if (shape.trellis != 1 && trellis_ == nullptr) return false;
    shape_ = shape;
    row_tables_.assign(shape.row_tables, shape.row_tables + shape.rows * contexts());
    if (shape.rows == 0) shape_.columns = 0;
    return std::all_of(row_tables_.begin(), row_tables_.end(),
                       [&](uint16_t table) { return table < shape.tables; });
  }

  // Null without one.
  const RansTrellis* trellis() const { return trellis_; }
  uint64_t contexts() const { return trellis_ == nullptr ? 1 : 2; }
  uint64_t rows() const { return shape_.rows; }
  uint64_t columns() const { return shape_.columns; }
  uint64_t tables() const { return shape_.tables; }
  // Of a row without a trellis, both contexts have the same table.
  uint32_t Table(uint64_t row, uint64_t context) const {
    return row_tables_[trellis_ == nullptr ? row : 2 * row + context];
  }

 private:
  RansShape shape_ = {};
  const RansTrellis* trellis_ = nullptr;
  std::vector<uint16_t> row_tables_;
};

// Replaces the escapes of a row by the next values of their list.
bool ReadEscapes(int16_t* values, uint64_t count, const uint8_t** at, const uint8_t* end) {
  for (int16_t* value = values; value < values + count; ++value) {
    if (*value != kRansEscape) continue;
    uint64_t folded;
    if (!ReadVarint(at, end, 16, &folded)) return false;
    *value = UnfoldEscape(folded);
  }
  return true;
}

class RansWriter {
 public:
  explicit RansWriter(const RansEncodeArgs& args) : args_(args) {}

  int Write(uint8_t* out, uint64_t* length) {
    if (!shape_.Read(args_.shape) || !ReadTables() || !ReadValues()) {
      return kSoftpackInvalidArgument;
    }
    uint32_t lanes = args_.lanes;
    if (lanes == 0) {
      EncodeWords(1);
      lanes = 1;
      while (lanes < kRansMaxLanes && 2 * words_.size() >= 2 * lanes * kBytesPerLane) lanes *= 2;
    }
    EncodeWords(lanes);
    return WriteStream(lanes, out, length);
  }

 private:
  // False if the frequencies of a table do not add up.
  bool ReadTables() {
    const uint64_t symbols = shape_.tables() * kRansSymbols;
    frequencies_.assign(args_.frequencies, args_.frequencies + symbols);
    starts_.resize(symbols);
    for (uint64_t first = 0; first < symbols; first += kRansSymbols) {
      uint32_t sum = 0;
      for (uint64_t s = first; s < first + kRansSymbols; ++s) {
        starts_[s] = static_cast<uint16_t>(sum);
        sum += frequencies_[s];
      }
      if (sum != kRansSlots) return false;
    }
    return true;
  }

  // The symbol of each value, and the escapes. False if a value has no frequency.
  bool ReadValues() {
    const uint64_t columns = shape_.columns();
    std::vector<uint8_t> states(columns), contexts(columns);
    symbols_.resize(shape_.rows() * columns);
    for (uint64_t row = 0; row < shape_.rows(); ++row) {
      const int16_t* const values = args_.values + row * columns;
      for (uint64_t column = 0; column < columns; ++column) {
        const uint32_t escape = shape_.Table(row, contexts[column]) * kRansSymbols;
        const int16_t value = values[column];
        const bool fits = value > kRansEscape && value <= 127;
        uint32_t symbol = escape + (fits ? static_cast<uint32_t>(value + 128) : 0);
        if (frequencies_[symbol] == 0) symbol = escape;
        if (frequencies_[symbol] == 0) return false;
        if (symbol == escape) AddEscape(value);
        symbols_[row * columns + column] = symbol;
      }
      if (shape_.trellis() == nullptr) continue;
      AdvanceTrellis(*shape_.trellis(), values, 0, columns, states.data(), contexts.data());
    }
    return true;
  }

  void AddEscape(int16_t value) {
    const int32_t folded = value < 0 ? -2 * int32_t{value} - 1 : 2 * int32_t{value};
    AddVarint(static_cast<uint32_t>(folded), &escapes_);
  }

  static void AddVarint(uint64_t value, std::vector<uint8_t>* bytes) {
    for (; value >= 0x80; value >>= 7) bytes->push_back(static_cast<uint8_t>(value | 0x80));
    bytes->push_back(static_cast<uint8_t>(value));
  }

  // Last value first: words end up in the reverse of the order that they are read in.
  void EncodeWords(uint32_t lanes) {
    words_.clear();
    std::fill_n(states_, kRansMaxLanes, kRansLeast);
    for (uint64_t row = shape_.rows(); row-- > 0;) {
      const uint32_t* const symbols = symbols_.data() + row * shape_.columns();
      for (uint64_t column = shape_.columns(); column-- > 0;) {
        uint32_t& state = states_[column & (lanes - 1)];
        const uint32_t frequency = frequencies_[symbols[column]];
        if (state >= static_cast<uint64_t>(frequency) << 20) {
          words_.push_back(static_cast<uint16_t>(state));
          state >>= 16;
        }
        const uint32_t quotient = state / frequency;
        const uint32_t rest = state - quotient * frequency;
        state = (quotient << kRansBits) + rest + starts_[symbols[column]];
      }
    }
  }

  int WriteStream(uint32_t lanes, uint8_t* out, uint64_t* length) const {
    std::vector<uint8_t> head(1);
    while (1u << head[0] < lanes) ++head[0];
    AddVarint(escapes_.size(), &head);
    *length = head.size() + 4 * lanes + 2 * words_.size() + escapes_.size();
    if (*length > args_.capacity) return kSoftpackInvalidArgument;
    out = std::copy(head.begin(), head.end(), out);
    for (uint32_t lane = 0; lane < lanes; ++lane) {
      for (uint32_t shift = 0; shift < 32; shift += 8) {
        *out++ = static_cast<uint8_t>(states_[lane] >> shift);
      }
    }
    for (uint64_t i = words_.size(); i-- > 0;) {
      *out++ = static_cast<uint8_t>(words_[i]);
      *out++ = static_cast<uint8_t>(words_[i] >> 8);
    }
    std::copy(escapes_.begin(), escapes_.end(), out);
    return kSoftpackOk;
  }

  const RansEncodeArgs& args_;
  CheckedShape shape_;
  std::vector<uint16_t> frequencies_;  // [tables, 256]
  std::vector<uint16_t> starts_;       // [tables, 256], the first slot of each symbol
  std::vector<uint32_t> symbols_;      // [rows, columns], indices into both
  std::vector<uint8_t> escapes_;
  std::vector<uint16_t> words_;
  uint32_t states_[kRansMaxLanes];
};

}  // namespace

int DecodeRans(const KernelTable& table, const RansDecodeArgs& args) {
  CheckedShape shape;
  if (!shape.Read(args.shape)) return kSoftpackInvalidArgument;
  const uint8_t* next = args.bytes;
  const uint8_t* const end = args.bytes + args.length;
  uint32_t states[kRansMaxLanes];
  uint64_t escape_bytes;
  const uint32_t lanes = ReadRansHead(&next, end, &escape_bytes);
  if (lanes == 0) return kSoftpackInvalidCodes;
  for (uint32_t lane = 0; lane < lanes; ++lane, next += 4) states[lane] = ReadLittle32(next);
  RansReader reader{states, lanes, next, end - escape_bytes};
  const uint8_t* escapes = reader.end;

  const uint64_t columns = shape.columns();
  std::vector<uint8_t> column_states(columns), contexts(columns);
  for (uint64_t j = 0; j < shape.rows(); ++j) {
    int16_t* const out = args.out + j * columns;
    const RansRow row{args.entries,
                      {shape.Table(j, 0) * kRansSlots, shape.Table(j, 1) * kRansSlots},
                      shape.trellis() == nullptr ? nullptr : contexts.data(),
                      columns,
                      out};
    if (!table.decode_rans_row(&reader, row)) return kSoftpackInvalidCodes;
    if (!ReadEscapes(out, columns, &escapes, end)) return kSoftpackInvalidCodes;
    if (shape.trellis() == nullptr) continue;
    table.advance_trellis(*shape.trellis(), out, columns, column_states.data(), contexts.data());
  }
  const bool whole = reader.next == reader.end && escapes == end;
  const bool settled = std::count(states, states + lanes, kRansLeast) == lanes;
  return whole && settled ? kSoftpackOk : kSoftpackInvalidCodes;
}

int EncodeRans(RansEncodeArgs* args) {
  const uint32_t lanes = args->lanes;
  if (lanes > kRansMaxLanes || (lanes & (lanes - 1)) != 0) return kSoftpackInvalidArgument;
  return RansWriter(*args).Write(args->out, &args->length);
}

}  // namespace softpack
