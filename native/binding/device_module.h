#ifndef SOFTPACK_BINDING_DEVICE_MODULE_H_
#define SOFTPACK_BINDING_DEVICE_MODULE_H_

#include <string>

#include "core/device_module.h"

namespace softpack {

struct DeviceState {
  // ready, absent, incompatible, no-device or lost.
  const char* name;
  std::string reason;  // for people
  SoftpackDeviceInfo info;
};

// A backend in a shared library, loaded on first use and kept until the process ends:
// its threads and its device's context would not survive being unmapped.
class DeviceModule {
 public:
  // The same object for the same path, on every thread.
  static const DeviceModule& Open(const std::string& path);
  // The module that a backend belongs to; null for the CPU's.
  static const SoftpackDeviceModule* Of(const SoftpackBackend* backend);

  // Asks the device every time: one that was ready may be lost. `start`: creates its context and
  // loads the kernels, without which `ready` is said of a device that may have no use for them.
  DeviceState State(bool start) const;
  // Null if the library does not load or has another version.
  const SoftpackDeviceModule* table() const { return table_; }

 private:
  struct Opened;
  static Opened& AllOpened();
  explicit DeviceModule(const std::string& path);
  void Load(const std::string& path);
  void Refuse(const char* state, const std::string& reason);

  const SoftpackDeviceModule* table_ = nullptr;
  const char* refused_ = nullptr;
  std::string reason_;
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_DEVICE_MODULE_H_
