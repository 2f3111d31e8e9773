#ifndef SOFTPACK_BINDING_ENCODER_H_
#define SOFTPACK_BINDING_ENCODER_H_

#include <memory>

#include "binding/external_memory.h"
#include "binding/napi_setup.h"
#include "binding/work.h"
#include "core/backend.h"

namespace softpack {

// A SoftpackEncoder owned by JavaScript. Freed by dispose() or by the garbage collector, which is
// informed of its size; running calls keep it until they end.
class Encoder : public Napi::ObjectWrap<Encoder> {
 public:
  static Napi::Function Define(Napi::Env env, const SoftpackBackend* backend);
  explicit Encoder(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

 private:
  Napi::Value Encode(const Napi::CallbackInfo& info);
  Napi::Value EncodeAsync(const Napi::CallbackInfo& info);
  void Dispose(const Napi::CallbackInfo& info);

  Work ReadEncode(Arguments& arguments);
  void Release(Napi::BasicEnv env);

  const SoftpackBackend* backend_ = nullptr;
  std::shared_ptr<SoftpackEncoder> encoder_;
  ExternalMemory memory_;
  uint64_t classes_ = 0;
  uint64_t label_bits_ = 0;
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_ENCODER_H_
