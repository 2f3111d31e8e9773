#ifndef SOFTPACK_BINDING_DECODER_H_
#define SOFTPACK_BINDING_DECODER_H_

#include <memory>
#include <set>

#include "binding/device_bytes.h"
#include "binding/external_memory.h"
#include "binding/napi_setup.h"
#include "binding/work.h"
#include "core/backend.h"

namespace softpack {

// A SoftpackDecoder owned by JavaScript. Freed by dispose() or by the garbage collector, which is
// informed of its size; running calls keep it until they end.
class Decoder : public Napi::ObjectWrap<Decoder> {
 public:
  static Napi::Function Define(Napi::Env env, const SoftpackBackend* backend);
  explicit Decoder(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

 private:
  Napi::Value Decode(const Napi::CallbackInfo& info);
  Napi::Value DecodeAsync(const Napi::CallbackInfo& info);
  Napi::Value DecodeKl(const Napi::CallbackInfo& info);
  Napi::Value DecodeKlAsync(const Napi::CallbackInfo& info);
  Napi::Value Method(const Napi::CallbackInfo& info);
  Napi::Value Bytes(const Napi::CallbackInfo& info);
  Napi::Value Lend(const Napi::CallbackInfo& info);
  Napi::Value Withdraw(const Napi::CallbackInfo& info);
  void Dispose(const Napi::CallbackInfo& info);

  SoftpackLabels ReadLabels(Arguments& arguments, DeviceMemory* resident);
  Work ReadDecode(Arguments& arguments);
  Work ReadDecodeKl(Arguments& arguments);
  uint64_t HeldBytes() const;
  void Release(Napi::BasicEnv env);

  const SoftpackBackend* backend_ = nullptr;
  std::shared_ptr<SoftpackDecoder> decoder_;
  ExternalMemory memory_;
  uint32_t method_ = kSoftpackMethodAuto;
  uint64_t classes_ = 0;
  bool has_bases_ = false;
  std::set<int32_t> lent_;  // numbers of calls
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_DECODER_H_
