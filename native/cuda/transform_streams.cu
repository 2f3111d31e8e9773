// Blocks of entropy-coded indices to records, a warp for each block: lane l of the warp has lane l
// of the stream and decodes columns l, l + lanes, ... of a row; what a step reads from the words is
// shared out by a ballot. All external input is checked here.
//
// Counted for blocks of 1,024 labels of 64 components: 2,048 steps, each a chain of a table's entry
// (16 kB a table, from L1 or L2), a multiplication, a ballot and one word, some 300 cycles; all of
// 4,000 blocks run at once on an H100, which are 4 million labels in some 0.4 ms.
#include "cuda/transform.h"

namespace softpack {
namespace {

struct StreamParams {
  TransformTables tables;
  const uint8_t* row;
  uint64_t row_bytes;
  uint64_t blocks;
  uint8_t* records;
  uint32_t* fault;
};

// The block of a row; false if the row is not one of `blocks` blocks that lie within it.
__device__ bool FindBlock(const StreamParams& params, uint64_t block, const uint8_t** begin,
                          const uint8_t** end) {
  const uint64_t head = 4 * (params.blocks + 2);
  if (params.row_bytes < head || ReadLittle32(params.row) != params.blocks) return false;
  const uint8_t* const offsets = params.row + 4 * (block + 1);
  const uint64_t from = ReadLittle32(offsets), to = ReadLittle32(offsets + 4);
  if (from > to || to > params.row_bytes - head) return false;
  *begin = params.row + head + from;
  *end = params.row + head + to;
  return true;
}

// The lanes of a stream; but for `state` every lane of the warp has the same.
struct WarpStream {
  uint32_t lanes;
  uint32_t state;
  const uint8_t* word;
  const uint8_t* escape;  // the end of the words
  const uint8_t* words_end;
  const uint8_t* end;
};

// False if no stream begins there.
__device__ bool Open(const uint8_t* begin, const uint8_t* end, WarpStream* stream) {
  uint64_t escape_bytes;
  stream->lanes = ReadRansHead(&begin, end, &escape_bytes);
  if (stream->lanes == 0) return false;
  const uint32_t lane = threadIdx.x;
  stream->state = lane < stream->lanes ? ReadLittle32(begin + 4 * lane) : kRansLeast;
  stream->word = begin + 4 * stream->lanes;
  stream->escape = stream->words_end = end - escape_bytes;
  stream->end = end;
  return true;
}

// The next value of every lane that is `active`; false if the words or the escapes are used up.
__device__ bool ReadValues(WarpStream* stream, bool active, const uint32_t* table, int32_t* value) {
  uint32_t state = stream->state;
  *value = 0;
  if (active) {
    const uint32_t entry = __ldg(table + (state & (kRansSlots - 1)));
    state = ((entry & 0xfff) + 1) * (state >> kRansBits) + (entry >> 12 & 0xfff);
    *value = static_cast<int8_t>(entry >> 24);
  }
  const bool low = active && state < kRansLeast;
  const uint32_t reading = __ballot_sync(kFullWarp, low);
  const uint32_t words = __popc(reading);
  if (static_cast<uint64_t>(stream->words_end - stream->word) < 2 * words) return false;
  if (low) {
    const uint8_t* const word = stream->word + 2 * __popc(reading & ((1u << threadIdx.x) - 1));
    state = state << 16 | static_cast<uint32_t>(word[1]) << 8 | word[0];
  }
  stream->state = state;
  stream->word += 2 * words;
  // Rare: all lanes read all escapes, in order of columns.
  uint32_t escapes = __ballot_sync(kFullWarp, active && *value == kRansEscape);
  for (; escapes != 0; escapes &= escapes - 1) {
    uint64_t folded;
    if (!ReadVarint(&stream->escape, stream->end, 16, &folded)) return false;
    if ((escapes & (0 - escapes)) == 1u << threadIdx.x) *value = UnfoldEscape(folded);
  }
  return true;
}

// `indices`: [components, 2^block_bits], of which `labels` columns are written. False for bytes
// that no encoder writes; all lanes return the same.
__device__ bool DecodeBlock(const TransformTables& tables, WarpStream stream, uint32_t labels,
                            int16_t* indices) {
  // A column is always the same lane's: no barrier is needed.
  uint8_t* const states = SharedMemory<uint8_t>();
  const uint32_t lane = threadIdx.x;
  for (uint32_t column = lane; column < labels && lane < stream.lanes; column += stream.lanes) {
    states[column] = 0;
  }
  for (uint32_t row = 0; row < tables.record.components; ++row) {
    const uint32_t first[2] = {tables.row_tables[2 * row] * kRansSlots,
                               tables.row_tables[2 * row + 1] * kRansSlots};
    int16_t* const out = indices + (static_cast<uint64_t>(row) << tables.record.block_bits);
    for (uint32_t begin = 0; begin < labels; begin += stream.lanes) {
      const uint32_t column = begin + lane;
      const bool active = lane < stream.lanes && column < labels;
      const uint32_t state = active ? states[column] : 0;
      const uint32_t* const table =
          tables.entries + (ContextOf(tables.trellis, state) ? first[1] : first[0]);
      int32_t value;
      if (!ReadValues(&stream, active, table, &value)) return false;
      if (!active) continue;
      out[column] = static_cast<int16_t>(value);
      states[column] = static_cast<uint8_t>(NextState(tables.trellis, state, value));
    }
  }
  const bool whole = stream.word == stream.words_end && stream.escape == stream.end;
  return whole && __ballot_sync(kFullWarp, stream.state != kRansLeast) == 0;
}

__global__ void __launch_bounds__(kWarp) StreamKernel(StreamParams params) {
  const TransformTables& tables = params.tables;
  const RecordShape& shape = tables.record;
  uint8_t* const record = params.records + blockIdx.x * shape.bytes;
  const uint8_t *begin = nullptr, *end = nullptr;
  uint32_t labels = 0;
  int status = kSoftpackInvalidArgument;
  if (FindBlock(params, blockIdx.x, &begin, &end)) {
    status = kSoftpackInvalidCodes;
    if (end - begin >= 2) labels = begin[0] | static_cast<uint32_t>(begin[1]) << 8;
    WarpStream stream;
    if (labels > 0 && labels <= 1u << shape.block_bits && Open(begin + 2, end, &stream)) {
      auto* const indices = reinterpret_cast<int16_t*>(record + RecordShape::kHeadBytes);
      if (DecodeBlock(tables, stream, labels, indices)) status = kSoftpackOk;
    }
  }
  if (threadIdx.x != 0) return;
  if (status != kSoftpackOk) atomicMax(params.fault, static_cast<unsigned>(status));
  *reinterpret_cast<uint4*>(record) = {status == kSoftpackOk ? labels : 0, 0, 0, 0};
}

}  // namespace

void RunStreams(Operation& operation, const TransformTables& tables,
                const SoftpackTransformRow& row) {
  // Columns that no label has, and padding.
  operation.Clear(row.unpacked, 0, row.blocks * tables.record.bytes);
  operation.Run("decoding blocks", StreamKernel,
                {static_cast<unsigned>(row.blocks), kWarp, size_t{1} << tables.record.block_bits},
                {tables, row.row, row.row_bytes, row.blocks, static_cast<uint8_t*>(row.unpacked),
                 operation.fault()});
}

}  // namespace softpack
