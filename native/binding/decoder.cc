#include "binding/decoder.h"

#include "binding/device_module.h"
#include "binding/label_calls.h"

namespace softpack {

// No accessors: Node-API checks the receiver of a method and not that of a getter.
Napi::Function Decoder::Define(Napi::Env env, const SoftpackBackend* backend) {
  return DefineClass(env, "Decoder",
                     {
                         InstanceMethod<&Decoder::Decode>("decode"),
                         InstanceMethod<&Decoder::DecodeAsync>("decodeAsync"),
                         InstanceMethod<&Decoder::DecodeKl>("decodeKl"),
                         InstanceMethod<&Decoder::DecodeKlAsync>("decodeKlAsync"),
                         InstanceMethod<&Decoder::Lend>("lend"),
                         InstanceMethod<&Decoder::Withdraw>("withdraw"),
                         InstanceMethod<&Decoder::Dispose>("dispose"),
                         InstanceMethod<&Decoder::Method>("method"),
                         InstanceMethod<&Decoder::Bytes>("bytes"),
                     },
                     const_cast<SoftpackBackend*>(backend));
}

// new (codebooks: Float32Array, basis: Float32Array, bias: Float32Array | null, classes: number,
//      latent: number, stages: number, levels: number, width: number, codebookStride: number,
//      latentStep: number, bits: number, head: number, headParameter: number, method: number,
//      precision: number, bases: Float32Array | null, memoryCap: number): NativeDecoder
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
  spec.method = arguments.Small(13, "method", kSoftpackMethodAuto, kSoftpackMethodSplit);
  spec.precision =
      arguments.Small(14, "precision", kSoftpackPrecisionExact, kSoftpackPrecisionFastest);
  if (!arguments.IsNull(15)) {
    const Span<float> bases = arguments.Floats(15, "bases");
    if (bases.length == 0 || bases.length % spec.latent != 0) {
      arguments.Refuse("bases", "one or more whole base vectors");
    }
    spec.bases = bases.data;
    spec.base_rows = bases.length / spec.latent;
  }
  spec.memory_cap = arguments.Size(16, "memoryCap");
  has_bases_ = spec.bases != nullptr;

  const SoftpackBackend* const backend = backend_ = arguments.backend();
  SoftpackDecoder* created = nullptr;
  const int status = backend->decoder_create(&spec, &created);
  if (status != kSoftpackOk) arguments.Fail(status);
  decoder_.reset(created, backend->decoder_destroy);
  SoftpackDecoderInfo decoder_info = {};
  backend->decoder_info(created, &decoder_info);
  method_ = decoder_info.method;
  memory_.Report(info.Env(), decoder_info.bytes);
}

void Decoder::Finalize(Napi::BasicEnv env) { Release(env); }

// dispose(): void
void Decoder::Dispose(const Napi::CallbackInfo& info) { Release(info.Env()); }

void Decoder::Release(Napi::BasicEnv env) {
  // A thread that was terminated inside a call has not withdrawn it.
  for (const int32_t number : lent_) softpack::Withdraw(number);
  lent_.clear();
  decoder_.reset();
  memory_.Report(env, 0);
}

uint64_t Decoder::HeldBytes() const {
  if (decoder_ == nullptr) return 0;
  SoftpackDecoderInfo info = {};
  backend_->decoder_info(decoder_.get(), &info);
  return info.bytes;
}

// method(): number
Napi::Value Decoder::Method(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), method_);
}

// bytes(): number
Napi::Value Decoder::Bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(HeldBytes()));
}

// decode(codes: Uint8Array | DeviceBytes, list: Uint32Array | null, start: number, count: number,
//        basePairs: Uint32Array | null, baseWeights: Float32Array | null,
//        out: Float32Array | Uint16Array, outType: number, threads: number): number
Napi::Value Decoder::Decode(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunNow(arguments, ReadDecode(arguments));
}

// decodeAsync(the same): Promise<number>
Napi::Value Decoder::DecodeAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunLater(arguments, ReadDecode(arguments));
}

// decodeKl(codes, list, start, count, basePairs, baseWeights: as for decode, logits: Float32Array,
//          losses: Float32Array | null, gradient: Float32Array | null, tau: number, scale: number,
//          loss: number, threads: number): number
Napi::Value Decoder::DecodeKl(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunNow(arguments, ReadDecodeKl(arguments));
}

// decodeKlAsync(the same): Promise<number>
Napi::Value Decoder::DecodeKlAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunLater(arguments, ReadDecodeKl(arguments));
}

// lend(codes, list, start, count, basePairs, baseWeights: as for decode, tau: number,
//      scale: number, threads: number): number
Napi::Value Decoder::Lend(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  LentCall lent;
  SoftpackLabelCall& call = lent.call;
  call.labels = ReadLabels(arguments, &lent.resident);
  call.tau = arguments.Float(6, "tau");
  call.scale = arguments.Float(7, "scale");
  call.threads = arguments.Threads(8);
  call.classes = classes_;
  call.backend = backend_;
  call.module = DeviceModule::Of(backend_);
  call.decoder = decoder_.get();
  lent.decoder = decoder_;
  const int32_t number = softpack::Lend(lent);
  lent_.insert(number);
  return Napi::Number::New(info.Env(), number);
}

// withdraw(call: number): number
Napi::Value Decoder::Withdraw(const Napi::CallbackInfo& info) {
  const int32_t number = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : 0;
  if (lent_.erase(number) == 0) Arguments(info).Refuse("call", "one that this decoder has lent");
  return Napi::Number::New(info.Env(), softpack::Withdraw(number));
}

// Arguments 0 to 5 of all three; codes may be DeviceBytes, which `resident` then keeps.
SoftpackLabels Decoder::ReadLabels(Arguments& arguments, DeviceMemory* resident) {
  if (decoder_ == nullptr) arguments.Refuse("decoder", "one that is not disposed");
  // Working memory of earlier calls.
  memory_.Report(arguments.Env(), HeldBytes());
  SoftpackLabels labels = {};
  *resident = DeviceBytes::Of(arguments.Value(0), backend_);
  const Span<uint8_t> codes = resident->bytes != nullptr
                                  ? Span<uint8_t>{resident->bytes.get(), resident->length}
                                  : arguments.Bytes(0, "codes");
  labels.codes = codes.data;
  labels.codes_bytes = codes.length;
  labels.first = arguments.Size(2, "start");
  labels.count = arguments.Size(3, "count");
  if (!arguments.IsNull(1)) {
    const Span<uint32_t> list = arguments.DoubleWords(1, "list");
    if (list.length != labels.count) arguments.Refuse("list", "count elements");
    labels.list = list.data;
  }
  if (has_bases_) {
    const Span<uint32_t> pairs = arguments.DoubleWords(4, "basePairs");
    if (pairs.length != arguments.Product("basePairs", labels.count, 2)) {
      arguments.Refuse("basePairs", "two elements per label");
    }
    labels.base_pairs = pairs.data;
    labels.base_weights = arguments.Floats(5, "baseWeights", labels.count);
  }
  return labels;
}

Work Decoder::ReadDecode(Arguments& arguments) {
  SoftpackDecodeArgs args = {};
  DeviceMemory resident;
  args.labels = ReadLabels(arguments, &resident);
  args.out_type = arguments.Small(7, "outType", kSoftpackFloat32, kSoftpackBfloat16);
  const uint64_t length = arguments.Product("out", args.labels.count, classes_);
  args.out = arguments.Output(6, "out", args.out_type, length);
  args.threads = arguments.Threads(8);
  return [decoder = decoder_, backend = backend_, resident, args] {
    return backend->decode(decoder.get(), &args);
  };
}

Work Decoder::ReadDecodeKl(Arguments& arguments) {
  SoftpackDecodeKlArgs args = {};
  DeviceMemory resident;
  args.labels = ReadLabels(arguments, &resident);
  const uint64_t length = arguments.Product("logits", args.labels.count, classes_);
  args.logits = arguments.Floats(6, "logits", length);
  if (!arguments.IsNull(7)) args.losses = arguments.Floats(7, "losses", args.labels.count);
  if (!arguments.IsNull(8)) args.gradient = arguments.Floats(8, "gradient", length);
  args.tau = arguments.Float(9, "tau");
  args.scale = arguments.Float(10, "scale");
  args.loss = arguments.Small(11, "loss", kSoftpackLossKl, kSoftpackLossCrossEntropy);
  args.threads = arguments.Threads(12);
  return [decoder = decoder_, backend = backend_, resident, args] {
    return backend->decode_kl(decoder.get(), &args);
  };
}

}  // namespace softpack
