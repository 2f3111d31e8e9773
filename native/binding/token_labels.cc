#include "core/token_labels.h"

#include "binding/arguments.h"
#include "binding/token_labels.h"
#include "binding/work.h"

namespace softpack {
namespace {

// Arguments `index` and the next, k: number, samples: number, ordered: number, stages: number,
// counted: boolean.
TokenShape ReadShape(const Arguments& arguments, size_t index, uint64_t vocabulary) {
  TokenShape shape = {};
  shape.vocabulary = vocabulary;
  shape.k = arguments.Small(index, "k", 0, kTokenEntries);
  shape.samples = arguments.Small(index + 1, "samples", 0, kTokenSamples);
  shape.ordered = arguments.Small(index + 2, "ordered", 0, kTokenOrdered);
  shape.stages = arguments.Small(index + 3, "stages", 0, kTokenStages);
  shape.counted = arguments.Flag(index + 4, "counted");
  if (!IsTokenShape(shape)) arguments.Refuse("k", "sizes that agree");
  return shape;
}

uint64_t Labels(const Arguments& arguments, const char* name, uint64_t length, uint64_t each) {
  if (each == 0 || length % each != 0) arguments.Refuse(name, "whole labels");
  return length / each;
}

uint64_t Groups(uint64_t labels) { return (labels + kTokenGroup - 1) / kTokenGroup; }

void CheckLength(const Arguments& arguments, const char* name, uint64_t found, uint64_t expected) {
  if (found != expected) arguments.Refuse(name, std::to_string(expected) + " elements");
}

// decodeTokens(ids: Uint32Array, k: number, samples: number, ordered: number, stages: number,
//              counted: boolean, codebooks: Float32Array | null, scale: Float32Array | null, bytes:
//              Uint8Array, position: number, begins: Uint32Array, skip: number, labels: Int32Array,
//              probabilities: Float32Array): number
Napi::Value Decode(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  TokenDecodeArgs args = {};
  const Span<uint32_t> ids = arguments.DoubleWords(0, "ids");
  args.ids = ids.data;
  args.shape = ReadShape(arguments, 1, ids.length);
  if (args.shape.stages > 0) {
    const uint64_t width = args.shape.width();
    const uint64_t rows = args.shape.stages * uint64_t{kTokenCodewords};
    args.codebooks = arguments.Floats(6, "codebooks", rows * width);
    args.scale = arguments.Floats(7, "scale", width);
  }
  const Span<uint8_t> bytes = arguments.Bytes(8, "bytes");
  args.bytes = bytes.data;
  args.length = bytes.length;
  args.position = arguments.Size(9, "position");
  const Span<uint32_t> begins = arguments.DoubleWords(10, "begins");
  args.begins = begins.data;
  args.skip = arguments.Small(11, "skip", 0, kTokenGroup - 1);
  const Span<int32_t> labels = arguments.Integers(12, "labels");
  args.count = Labels(arguments, "labels", labels.length, args.shape.entries());
  CheckLength(arguments, "begins", begins.length, Groups(args.skip + args.count));
  args.labels = labels.data;
  args.probabilities = arguments.Floats(13, "probabilities", labels.length);
  return RunNow(arguments, [args] { return DecodeTokens(args); });
}

// encodeTokens(names: Uint32Array, k: number, samples: number, ordered: number, stages: number,
//              counted: boolean, counts: Uint32Array, ids: Uint32Array, logProbs: Float32Array |
//              null, indices: Uint16Array | null, drawn: Uint32Array, out: Uint8Array, position:
//              number, begins: Uint32Array, length: Uint32Array): number
Napi::Value Encode(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  TokenEncodeArgs args = {};
  const Span<uint32_t> names = arguments.DoubleWords(0, "names");
  args.names = names.data;
  args.shape = ReadShape(arguments, 1, names.length);
  const Span<uint32_t> counts = arguments.DoubleWords(6, "counts");
  args.counts = counts.data;
  args.count = counts.length;
  const Span<uint32_t> ids = arguments.DoubleWords(7, "ids");
  const uint64_t entries = arguments.Product("ids", args.count, args.shape.k);
  CheckLength(arguments, "ids", ids.length, entries);
  args.ids = ids.data;
  if (args.shape.stages > 0) {
    const uint64_t indices = arguments.Product("indices", args.count, args.shape.stages);
    args.indices = arguments.Words(9, "indices", indices);
  } else {
    args.log_probs = arguments.Floats(8, "logProbs", entries);
  }
  const Span<uint32_t> drawn = arguments.DoubleWords(10, "drawn");
  const uint64_t samples = arguments.Product("drawn", args.count, args.shape.samples);
  CheckLength(arguments, "drawn", drawn.length, samples);
  args.samples = drawn.data;
  const Span<uint8_t> out = arguments.Bytes(11, "out");
  args.out = out.data;
  args.capacity = out.length;
  args.position = arguments.Size(12, "position");
  if (args.position / 8 >= out.length) arguments.Refuse("position", "a bit of out");
  const Span<uint32_t> begins = arguments.DoubleWords(13, "begins");
  const uint64_t groups = Groups(args.count);
  CheckLength(arguments, "begins", begins.length, groups < 2 ? 0 : groups - 1);
  args.begins = begins.data;
  const Span<uint32_t> length = arguments.DoubleWords(14, "length");
  CheckLength(arguments, "length", length.length, 1);
  return RunNow(arguments, [args, length]() mutable {
    const int status = EncodeTokens(&args);
    *length.data = static_cast<uint32_t>(args.length);
    return status;
  });
}

// listTokens(logits: Float32Array, width: number, vocabulary: number, k: number, samples: number,
//            uniforms: Float64Array, ids: Uint32Array, drawn: Uint32Array, sums: Float64Array,
//            listed: Uint32Array): number
Napi::Value List(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  TokenListArgs args = {};
  const Span<float> logits = arguments.Floats(0, "logits");
  args.logits = logits.data;
  args.width = arguments.Size(1, "width", 1);
  args.rows = Labels(arguments, "logits", logits.length, args.width);
  args.vocabulary = arguments.Size(2, "vocabulary", 1);
  args.k = arguments.Small(3, "k", 0, kTokenEntries);
  args.samples = arguments.Small(4, "samples", 0, kTokenSamples);
  const uint64_t samples = arguments.Product("uniforms", args.rows, args.samples);
  const Span<double> uniforms = arguments.Doubles(5, "uniforms");
  CheckLength(arguments, "uniforms", uniforms.length, samples);
  args.uniforms = uniforms.data;
  const Span<uint32_t> ids = arguments.DoubleWords(6, "ids");
  CheckLength(arguments, "ids", ids.length, arguments.Product("ids", args.rows, args.k));
  args.ids = ids.data;
  const Span<uint32_t> drawn = arguments.DoubleWords(7, "drawn");
  CheckLength(arguments, "drawn", drawn.length, samples);
  args.drawn = drawn.data;
  const Span<double> sums = arguments.Doubles(8, "sums");
  CheckLength(arguments, "sums", sums.length, args.rows);
  args.sums = sums.data;
  const Span<uint32_t> listed = arguments.DoubleWords(9, "listed");
  CheckLength(arguments, "listed", listed.length, 1);
  return RunNow(arguments, [args, listed]() mutable {
    const int status = ListTokens(&args);
    *listed.data = static_cast<uint32_t>(args.listed);
    return status;
  });
}

}  // namespace

void DefineTokenLabels(Napi::Env env, Napi::Object target) {
  target.Set("decodeTokens", Napi::Function::New(env, Decode, "decodeTokens"));
  target.Set("encodeTokens", Napi::Function::New(env, Encode, "encodeTokens"));
  target.Set("listTokens", Napi::Function::New(env, List, "listTokens"));
}

}  // namespace softpack
