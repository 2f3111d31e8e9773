#include "binding/device_module.h"

#include <map>
#include <memory>
#include <mutex>

#if defined(__unix__) || defined(__APPLE__)
#define SOFTPACK_HAS_DLOPEN 1
#include <dlfcn.h>
#endif

namespace softpack {
namespace {

std::string Version(const char* what, uint32_t found, uint32_t expected) {
  return std::string(what) + " is " + std::to_string(found) + ", this addon needs " +
         std::to_string(expected);
}

}  // namespace

struct DeviceModule::Opened {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<DeviceModule>> modules;
};

DeviceModule::Opened& DeviceModule::AllOpened() {
  // Never destroyed: what it holds outlives every environment.
  static auto* const opened = new Opened;
  return *opened;
}

const SoftpackDeviceModule* DeviceModule::Of(const SoftpackBackend* backend) {
  Opened& opened = AllOpened();
  const std::lock_guard<std::mutex> lock(opened.mutex);
  for (const auto& [path, module] : opened.modules) {
    const SoftpackDeviceModule* const table = module->table();
    if (table != nullptr && table->backend == backend) return table;
  }
  return nullptr;
}

const DeviceModule& DeviceModule::Open(const std::string& path) {
  Opened& opened = AllOpened();
  const std::lock_guard<std::mutex> lock(opened.mutex);
  std::unique_ptr<DeviceModule>& module = opened.modules[path];
  if (module == nullptr) module.reset(new DeviceModule(path));
  return *module;
}

DeviceModule::DeviceModule(const std::string& path) { Load(path); }

void DeviceModule::Refuse(const char* state, const std::string& reason) {
  refused_ = state;
  reason_ = reason;
}

#ifdef SOFTPACK_HAS_DLOPEN

void DeviceModule::Load(const std::string& path) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Refuse("incompatible", dlerror());
  const auto open =
      reinterpret_cast<SoftpackOpenModuleFunction>(dlsym(library, SOFTPACK_MODULE_SYMBOL));
  if (open == nullptr) {
    return Refuse("incompatible", path + " has no " + SOFTPACK_MODULE_SYMBOL);
  }
  const SoftpackDeviceModule* const table = open();
  if (table->module_version != SOFTPACK_MODULE_VERSION) {
    return Refuse("incompatible",
                  Version("the module's version", table->module_version, SOFTPACK_MODULE_VERSION));
  }
  if (table->size < sizeof(SoftpackDeviceModule)) {
    return Refuse("incompatible", "the module was built for an older addon");
  }
  const SoftpackBackend& backend = *table->backend;
  if (backend.abi_version != SOFTPACK_ABI_VERSION) {
    return Refuse("incompatible",
                  Version("the module's ABI", backend.abi_version, SOFTPACK_ABI_VERSION));
  }
  if (backend.size < sizeof(SoftpackBackend)) {
    return Refuse("incompatible", "the module lacks operations that this addon has");
  }
  table_ = table;
}

#else

void DeviceModule::Load(const std::string&) {
  Refuse("absent", "device modules are not supported on this system");
}

#endif

DeviceState DeviceModule::State(bool start) const {
  if (table_ == nullptr) return {refused_, reason_, {}};
  DeviceState state = {"ready", "", {}};
  int status = table_->probe(&state.info);
  if (start && status == kSoftpackOk) status = table_->start();
  if (status == kSoftpackOk) {
    const SoftpackDeviceInfo& info = state.info;
    state.reason = std::string(info.name) + ", compute capability " +
                   std::to_string(info.capability_major) + "." +
                   std::to_string(info.capability_minor) + ", " +
                   std::to_string(info.memory_bytes >> 20) + " MiB";
    if (info.refused[0] != '\0') state.reason += std::string("; last refused: ") + info.refused;
  } else {
    state.name = status == kSoftpackNoDevice ? "no-device" : "lost";
    state.reason = table_->last_error();
  }
  return state;
}

}  // namespace softpack
