#include "binding/rans.h"

#include "binding/arguments.h"
#include "binding/work.h"
#include "core/rans.h"
#include "cpu/dispatch.h"

namespace softpack {
namespace {

// Arguments `index`, rowTables: Uint16Array, and the next, columns: number, trellis: number.
RansShape ReadShape(Arguments& arguments, size_t index, uint64_t tables) {
  RansShape shape = {};
  const Span<uint16_t> row_tables = arguments.Words(index, "rowTables");
  shape.row_tables = row_tables.data;
  shape.tables = tables;
  shape.columns = arguments.Size(index + 1, "columns");
  shape.trellis = arguments.Small(index + 2, "trellis", 1, 8);
  const uint64_t contexts = shape.trellis == 1 ? 1 : 2;
  if (row_tables.length % contexts != 0) arguments.Refuse("rowTables", "whole rows");
  shape.rows = row_tables.length / contexts;
  return shape;
}

uint64_t Tables(const Arguments& arguments, const char* name, uint64_t length, uint32_t each) {
  if (length % each != 0) arguments.Refuse(name, "whole tables");
  return length / each;
}

Span<int16_t> ReadValues(Arguments& arguments, size_t index, const char* name,
                         const RansShape& shape) {
  const Span<int16_t> values = arguments.Shorts(index, name);
  if (values.length != arguments.Product(name, shape.rows, shape.columns)) {
    arguments.Refuse(name, "rows * columns elements");
  }
  return values;
}

// decodeRans(bytes: Uint8Array, entries: Uint32Array, rowTables: Uint16Array, columns: number,
//            trellis: number, out: Int16Array): number
Napi::Value Decode(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  RansDecodeArgs args = {};
  const Span<uint8_t> bytes = arguments.Bytes(0, "bytes");
  args.bytes = bytes.data;
  args.length = bytes.length;
  const Span<uint32_t> entries = arguments.DoubleWords(1, "entries");
  args.entries = entries.data;
  args.shape = ReadShape(arguments, 2, Tables(arguments, "entries", entries.length, kRansSlots));
  args.out = ReadValues(arguments, 5, "out", args.shape).data;
  return RunNow(arguments, [args] {
    const Isa* const isa = SelectedIsa();
    return isa == nullptr ? int{kSoftpackUnsupportedIsa} : DecodeRans(*isa->kernels, args);
  });
}

// encodeRans(values: Int16Array, frequencies: Uint16Array, rowTables: Uint16Array, columns: number,
//            trellis: number, lanes: number, out: Uint8Array, length: Uint32Array): number
Napi::Value Encode(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  RansEncodeArgs args = {};
  const Span<uint16_t> frequencies = arguments.Words(1, "frequencies");
  args.frequencies = frequencies.data;
  args.shape =
      ReadShape(arguments, 2, Tables(arguments, "frequencies", frequencies.length, kRansSymbols));
  args.values = ReadValues(arguments, 0, "values", args.shape).data;
  args.lanes = arguments.Small(5, "lanes", 0, kRansMaxLanes);
  const Span<uint8_t> out = arguments.Bytes(6, "out");
  args.out = out.data;
  args.capacity = out.length;
  const Span<uint32_t> length = arguments.DoubleWords(7, "length");
  if (length.length != 1) arguments.Refuse("length", "one element");
  return RunNow(arguments, [args, length]() mutable {
    const int status = EncodeRans(&args);
    *length.data = static_cast<uint32_t>(args.length);
    return status;
  });
}

}  // namespace

void DefineRans(Napi::Env env, Napi::Object target) {
  target.Set("decodeRans", Napi::Function::New(env, Decode, "decodeRans"));
  target.Set("encodeRans", Napi::Function::New(env, Encode, "encodeRans"));
}

}  // namespace softpack
