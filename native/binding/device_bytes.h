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

// Bytes that were copied to a device once, for calls to use where they are. Freed by dispose(),
// else by the garbage collector; calls still running keep them until they end.
class DeviceBytes : public Napi::ObjectWrap<DeviceBytes> {
 public:
  static Napi::Function Define(Napi::Env env, const SoftpackDeviceModule* module);
  explicit DeviceBytes(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

  // The memory behind a value; none where the value is no DeviceBytes. Throws where it is disposed
  // of, or belongs to another backend.
  static DeviceMemory Of(const Napi::Value& value, const SoftpackBackend* backend);

 private:
  void Dispose(const Napi::CallbackInfo& info);
  void Release(Napi::BasicEnv env);

  const SoftpackDeviceModule* module_ = nullptr;
  DeviceMemory memory_;
  ExternalMemory told_;
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_DEVICE_BYTES_H_
