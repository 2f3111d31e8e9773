#include "binding/encoder.h"

namespace softpack {

Napi::Function Encoder::Define(Napi::Env env, const SoftpackBackend* backend) {
  return DefineClass(env, "Encoder",
                     {
                         InstanceMethod<&Encoder::Encode>("encode"),
                         InstanceMethod<&Encoder::EncodeAsync>("encodeAsync"),
                         InstanceMethod<&Encoder::Dispose>("dispose"),
                     },
                     const_cast<SoftpackBackend*>(backend));
}

// new (projection: Float32Array, codebook: Float32Array, classes: number, latent: number,
//      width: number, bits: number): NativeEncoder
Encoder::Encoder(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Encoder>(info) {
  Arguments arguments(info);
  SoftpackEncoderSpec spec = {};
  spec.classes = classes_ = arguments.Size(2, "classes", 1);
  spec.latent = arguments.Size(3, "latent", 1);
  spec.width = arguments.Size(4, "width", 1);
  spec.bits = arguments.Small(5, "bits", 1, 16);
  if (spec.latent % spec.width != 0) arguments.Refuse("latent", "a multiple of width");
  label_bits_ = arguments.Product("latent", spec.latent / spec.width, spec.bits);
  spec.projection =
      arguments.Floats(0, "projection", arguments.Product("projection", spec.classes, spec.latent));
  const Span<float> codebook = arguments.Floats(1, "codebook");
  spec.codebook = codebook.data;
  spec.levels = arguments.Levels(codebook, spec.width, uint64_t{1} << spec.bits);

  const SoftpackBackend* const backend = backend_ = arguments.backend();
  SoftpackEncoder* created = nullptr;
  const int status = backend->encoder_create(&spec, &created);
  if (status != kSoftpackOk) arguments.Fail(status);
  encoder_.reset(created, backend->encoder_destroy);
  memory_.Report(info.Env(), backend->encoder_bytes(created));
}

void Encoder::Finalize(Napi::BasicEnv env) { Release(env); }

// dispose(): void
void Encoder::Dispose(const Napi::CallbackInfo& info) { Release(info.Env()); }

void Encoder::Release(Napi::BasicEnv env) {
  encoder_.reset();
  memory_.Report(env, 0);
}

// encode(labels: Float32Array, out: Uint8Array, threads: number): number
Napi::Value Encoder::Encode(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunNow(arguments, ReadEncode(arguments));
}

// encodeAsync(labels: Float32Array, out: Uint8Array, threads: number): Promise<number>
Napi::Value Encoder::EncodeAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunLater(arguments, ReadEncode(arguments));
}

Work Encoder::ReadEncode(Arguments& arguments) {
  if (encoder_ == nullptr) arguments.Refuse("encoder", "one that is not disposed");
  // Working memory of earlier calls.
  memory_.Report(arguments.Env(), backend_->encoder_bytes(encoder_.get()));
  SoftpackEncodeArgs args = {};
  const Span<float> labels = arguments.Floats(0, "labels");
  if (labels.length % classes_ != 0) arguments.Refuse("labels", "whole labels");
  args.labels = labels.data;
  args.count = labels.length / classes_;
  const Span<uint8_t> out = arguments.Bytes(1, "out");
  if (out.length != (arguments.Product("out", args.count, label_bits_) + 7) / 8) {
    arguments.Refuse("out", "room for exactly all codes");
  }
  args.out = out.data;
  args.threads = arguments.Threads(2);
  return [encoder = encoder_, backend = backend_, args] {
    return backend->encode(encoder.get(), &args);
  };
}

}  // namespace softpack
