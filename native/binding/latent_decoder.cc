#include "binding/latent_decoder.h"

#include "cpu/latent_decoder.h"

namespace softpack {

Napi::Function LatentDecoderObject::Define(Napi::Env env) {
  return DefineClass(env, "LatentDecoder",
                     {
                         InstanceMethod<&LatentDecoderObject::Decode>("decode"),
                         InstanceMethod<&LatentDecoderObject::DecodeAsync>("decodeAsync"),
                         InstanceMethod<&LatentDecoderObject::Dispose>("dispose"),
                     });
}

// new (basis: Float32Array, bias: Float32Array, classes: number, fastest: boolean):
//     NativeLatentDecoder
LatentDecoderObject::LatentDecoderObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<LatentDecoderObject>(info) {
  Arguments arguments(info);
  LatentDecoderSpec spec = {};
  spec.classes = classes_ = arguments.Size(2, "classes", 1);
  const Span<float> basis = arguments.Floats(0, "basis");
  if (basis.length == 0 || basis.length % classes_ != 0) {
    arguments.Refuse("basis", "one or more whole rows");
  }
  spec.basis = basis.data;
  spec.latent = latent_ = basis.length / classes_;
  spec.bias = arguments.Floats(1, "bias", classes_);
  spec.fastest = arguments.Flag(3, "fastest");
  const Isa* const isa = SelectedIsa();
  if (isa == nullptr) arguments.Fail(kSoftpackUnsupportedIsa);
  auto created = std::make_shared<LatentDecoder>();
  const int status = created->Create(*isa, spec);
  if (status != kSoftpackOk) arguments.Fail(status);
  decoder_ = std::move(created);
  memory_.Report(info.Env(), decoder_->bytes());
}

void LatentDecoderObject::Finalize(Napi::BasicEnv env) { Release(env); }

// dispose(): void
void LatentDecoderObject::Dispose(const Napi::CallbackInfo& info) { Release(info.Env()); }

void LatentDecoderObject::Release(Napi::BasicEnv env) {
  decoder_.reset();
  memory_.Report(env, 0);
}

// decode(latents: Float32Array, tau: number, out: Float32Array | Uint16Array, outType: number,
//        threads: number): number
Napi::Value LatentDecoderObject::Decode(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunNow(arguments, ReadDecode(arguments));
}

// decodeAsync(the same): Promise<number>
Napi::Value LatentDecoderObject::DecodeAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  return RunLater(arguments, ReadDecode(arguments));
}

Work LatentDecoderObject::ReadDecode(Arguments& arguments) {
  if (decoder_ == nullptr) arguments.Refuse("decoder", "one that is not disposed");
  // Working memory of earlier calls.
  memory_.Report(arguments.Env(), decoder_->bytes());
  LatentDecodeArgs args = {};
  const Span<float> latents = arguments.Floats(0, "latents");
  if (latents.length % latent_ != 0) arguments.Refuse("latents", "whole latents");
  args.latents = latents.data;
  args.count = latents.length / latent_;
  args.tau = arguments.Float(1, "tau");
  args.out_type = arguments.Small(3, "outType", kSoftpackFloat32, kSoftpackBfloat16);
  const uint64_t length = arguments.Product("out", args.count, classes_);
  args.out = arguments.Output(2, "out", args.out_type, length);
  args.threads = arguments.Threads(4);
  return [decoder = decoder_, args] { return decoder->Decode(args); };
}

}  // namespace softpack
