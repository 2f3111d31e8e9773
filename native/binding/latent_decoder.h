#ifndef SOFTPACK_BINDING_LATENT_DECODER_H_
#define SOFTPACK_BINDING_LATENT_DECODER_H_

#include <memory>

#include "binding/external_memory.h"
#include "binding/napi_setup.h"
#include "binding/work.h"

namespace softpack {

class LatentDecoder;

// A softpack::LatentDecoder owned by JavaScript, as Decoder owns a SoftpackDecoder. The CPU's own,
// whatever the backend.
class LatentDecoderObject : public Napi::ObjectWrap<LatentDecoderObject> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit LatentDecoderObject(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

 private:
  Napi::Value Decode(const Napi::CallbackInfo& info);
  Napi::Value DecodeAsync(const Napi::CallbackInfo& info);
  void Dispose(const Napi::CallbackInfo& info);

  Work ReadDecode(Arguments& arguments);
  void Release(Napi::BasicEnv env);

  std::shared_ptr<LatentDecoder> decoder_;
  ExternalMemory memory_;
  uint64_t classes_ = 0;
  uint64_t latent_ = 0;
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_LATENT_DECODER_H_
