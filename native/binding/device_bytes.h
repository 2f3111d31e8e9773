#ifndef SOFTPACK_BINDING_DEVICE_BYTES_H_
#define SOFTPACK_BINDING_DEVICE_BYTES_H_

#include <memory>

#include "binding/external_memory.h"
#include "binding/napi_setup.h"
#include "core/device_module.h"

namespace softpack {

struct DeviceMemory {
  std::shared_ptr<uint8_t> bytes;
  uint64_t length = 0;
};

// Bytes copied to a device once, for calls to use in place. Freed by dispose() or by the garbage
// collector, which is informed of their size; running calls keep them until they end.
class DeviceBytes : public Napi::ObjectWrap<DeviceBytes> {
 public:
  static Napi::Function Define(Napi::Env env, const SoftpackDeviceModule* module);
  explicit DeviceBytes(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

  // The memory behind a value; none if the value is not a DeviceBytes. Throws if it is disposed or
  // belongs to another backend.
  static DeviceMemory Of(const Napi::Value& value, const SoftpackBackend* backend);

 private:
  void Dispose(const Napi::CallbackInfo& info);
  void Release(Napi::BasicEnv env);

  const SoftpackDeviceModule* module_ = nullptr;
  DeviceMemory memory_;
  ExternalMemory external_;
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_DEVICE_BYTES_H_
