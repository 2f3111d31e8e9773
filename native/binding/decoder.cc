#include "binding/decoder.h"

#include "cpu/cpu_backend.h"

namespace softpack {

Napi::Function Decoder::Define(Napi::Env env) {
  return DefineClass(env, "Decoder",
                     {
                         InstanceMethod<&Decoder::Decode>("decode"),
                         InstanceMethod<&Decoder::DecodeAsync>("decodeAsync"),
                         InstanceMethod<&Decoder::Dispose>("dispose"),
                         InstanceAccessor<&Decoder::Method>("method"),
                         InstanceAccessor<&Decoder::Bytes>("bytes"),
                     });
}

// new (codebooks: Float32Array, basis: Float32Array, bias: Float32Array | null, classes: number,
// latent: number,
//      stages: number, levels: number, width: number, codebookStride: number, latentStep: number,
//      bits: number, head: number, headParameter: number, method: number): NativeDecoder
Decoder::Decoder(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Decoder>(info) {
  Arguments arguments(info);
  SoftpackDecoderSpec spec = {};
  spec.classes = classes_ = arguments.Size(3, "classes", 1);
  spec.latent = arguments.Size(4, "latent", 1);
  spec.stages = arguments.Size(5, "stages", 1);
  spec.bits = arguments.Small(10, "bits", 1, 16);
  spec.levels = arguments.Small(6, "levels", 1, 1u << spec.bits);
  spec.width = arguments.Size(7, "width", 1);
  spec.codebook_stride = arguments.Size(8, "codebookStride");
  spec.latent_step = arguments.Size(9, "latentStep");
  const uint64_t steps = arguments.Product("latentStep", spec.stages - 1, spec.latent_step);
  if (spec.latent < spec.width || steps != spec.latent - spec.width) {
    arguments.Refuse("latent", "(stages - 1) * latentStep + width");
  }
  // Both factors fit in 53 bits and 17, so neither their product nor the sum below wraps unnoticed.
  const uint64_t codebook = arguments.Product("width", spec.levels, spec.width);
  const uint64_t strides =
      arguments.Product("codebookStride", spec.stages - 1, spec.codebook_stride);
  if (strides > UINT64_MAX - codebook)
    arguments.Refuse("codebookStride", "a size that fits in memory");
  spec.codebooks = arguments.Floats(0, "codebooks", strides + codebook);
  spec.basis = arguments.Floats(1, "basis", arguments.Product("basis", spec.latent, spec.classes));
  if (!arguments.IsNull(2)) spec.bias = arguments.Floats(2, "bias", spec.classes);
  spec.head = arguments.Small(11, "head", kSoftpackHeadIdentity, kSoftpackHeadSoftmax);
  spec.head_parameter = arguments.Float(12, "headParameter");
  spec.method = arguments.Small(13, "method", kSoftpackMethodAuto, kSoftpackMethodTable);

  const SoftpackBackend* const backend = SoftpackCpuBackend();
  SoftpackDecoder* created = nullptr;
  const int status = backend->decoder_create(&spec, &created);
  if (status != kSoftpackOk) throw Napi::Error::New(info.Env(), SoftpackStatusText(status));
  decoder_.reset(created, backend->decoder_destroy);
  backend->decoder_info(created, &info_);
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), static_cast<int64_t>(info_.bytes));
}

void Decoder::Finalize(Napi::BasicEnv env) { Release(env); }

// dispose(): void
void Decoder::Dispose(const Napi::CallbackInfo& info) { Release(info.Env()); }

void Decoder::Release(Napi::BasicEnv env) {
  if (decoder_ == nullptr) return;
  decoder_.reset();
  Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>(info_.bytes));
}

// method: number
Napi::Value Decoder::Method(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), info_.method);
}

// bytes: number
Napi::Value Decoder::Bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(info_.bytes));
}

// decode(codes: Uint8Array, list: Uint32Array | null, start: number, count: number,
//        out: Float32Array | Uint16Array, threads: number): number
Napi::Value Decoder::Decode(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunNow(arguments, ReadDecode(arguments));
}

// decodeAsync(codes: Uint8Array, list: Uint32Array | null, start: number, count: number,
//             out: Float32Array | Uint16Array, threads: number): Promise<number>
Napi::Value Decoder::DecodeAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunLater(arguments, ReadDecode(arguments));
}

Work Decoder::ReadDecode(Arguments& arguments) const {
  if (decoder_ == nullptr) arguments.Refuse("decoder", "one that is not disposed");
  SoftpackDecodeArgs args = {};
  const Span<uint8_t> codes = arguments.Bytes(0, "codes");
  args.codes = codes.data;
  args.codes_bytes = codes.length;
  args.first = arguments.Size(2, "start");
  args.count = arguments.Size(3, "count");
  if (!arguments.IsNull(1)) {
    const Span<uint32_t> list = arguments.DoubleWords(1, "list");
    if (list.length != args.count) arguments.Refuse("list", "count elements");
    args.list = list.data;
  }
  const uint64_t length = arguments.Product("out", args.count, classes_);
  if (arguments.IsFloats(4))
    args.out_float = arguments.Floats(4, "out", length);
  else
    args.out_half = arguments.Words(4, "out", length);
  args.threads = arguments.Small(5, "threads", 0, 256);
  return [decoder = decoder_, args] { return SoftpackCpuBackend()->decode(decoder.get(), &args); };
}

}  // namespace softpack
