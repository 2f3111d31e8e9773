#include "binding/quantiser.h"

#include "binding/arguments.h"
#include "binding/work.h"
#include "core/quantiser.h"
#include "cpu/dispatch.h"

namespace softpack {
namespace {

// Runs `operation` with the kernels in use.
template <class Args>
Napi::Value RunOnCpu(const Arguments& arguments, int (*operation)(const KernelTable&, const Args&),
                     const Args& args) {
  return RunNow(arguments, [operation, args] {
    const Isa* const isa = SelectedIsa();
    return isa == nullptr ? int{kSoftpackUnsupportedIsa} : operation(*isa->kernels, args);
  });
}

// Rows of `length` elements in `total`.
uint64_t Rows(const Arguments& arguments, const char* name, uint64_t total, uint64_t length) {
  if (length == 0 ? total != 0 : total % length != 0) arguments.Refuse(name, "whole rows");
  return length == 0 ? 0 : total / length;
}

// centreLogits(logits: Float32Array, mean: Float32Array | null, classes: number, depth: number,
//              out: Float32Array, threads: number): number
Napi::Value CentreLogits(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  CentreArgs args = {};
  const Span<float> logits = arguments.Floats(0, "logits");
  args.classes = arguments.Size(2, "classes", 1);
  args.rows = Rows(arguments, "logits", logits.length, args.classes);
  args.logits = logits.data;
  args.mean = arguments.IsNull(1) ? nullptr : arguments.Floats(1, "mean", args.classes);
  args.depth = arguments.Double(3, "depth");
  args.out = arguments.Floats(4, "out", logits.length);
  args.threads = arguments.Threads(5);
  return RunOnCpu(arguments, Centre, args);
}

// quantise(values: Float32Array, shifts: Int8Array, costs: Float64Array, unit: number,
//          trellis: number, out: Int16Array, threads: number): number
Napi::Value QuantiseLatents(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  QuantiseArgs args = {};
  const Span<float> values = arguments.Floats(0, "values");
  const Span<int8_t> shifts = arguments.SignedBytes(1, "shifts");
  const Span<double> costs = arguments.Doubles(2, "costs");
  const Span<int16_t> out = arguments.Shorts(5, "out");
  args.rank = shifts.length;
  args.labels = Rows(arguments, "values", values.length, args.rank);
  if (costs.length != arguments.Product("costs", args.rank, 2 * kRansSymbols)) {
    arguments.Refuse("costs", "two tables per component");
  }
  if (out.length != values.length) arguments.Refuse("out", "an element per value");
  args.values = values.data;
  args.shifts = shifts.data;
  args.costs = costs.data;
  args.unit = arguments.Double(3, "unit");
  args.trellis = arguments.Small(4, "trellis", 1, 8);
  args.out = out.data;
  args.threads = arguments.Threads(6);
  return RunOnCpu(arguments, Quantise, args);
}

// dequantise(indices: Int16Array, shifts: Int8Array, unit: number, trellis: number,
//            out: Float32Array, threads: number): number
Napi::Value DequantiseLatents(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  DequantiseArgs args = {};
  const Span<int16_t> indices = arguments.Shorts(0, "indices");
  const Span<int8_t> shifts = arguments.SignedBytes(1, "shifts");
  args.rank = shifts.length;
  args.labels = Rows(arguments, "indices", indices.length, args.rank);
  args.indices = indices.data;
  args.shifts = shifts.data;
  args.unit = arguments.Double(2, "unit");
  args.trellis = arguments.Small(3, "trellis", 1, 8);
  args.out = arguments.Floats(4, "out", indices.length);
  args.threads = arguments.Threads(5);
  return RunOnCpu(arguments, Dequantise, args);
}

}  // namespace

void DefineQuantiser(Napi::Env env, Napi::Object target) {
  target.Set("centreLogits", Napi::Function::New(env, CentreLogits, "centreLogits"));
  target.Set("quantise", Napi::Function::New(env, QuantiseLatents, "quantise"));
  target.Set("dequantise", Napi::Function::New(env, DequantiseLatents, "dequantise"));
}

}  // namespace softpack
