#include "binding/device_bytes.h"

#include "binding/arguments.h"
#include "binding/work.h"

namespace softpack {
namespace {

constexpr napi_type_tag kTag = {0x8d1fb2a94c7e4f03, 0x9a3e6d5b17c2408f};

}  // namespace

Napi::Function DeviceBytes::Define(Napi::Env env, const SoftpackDeviceModule* module) {
  return DefineClass(env, "DeviceBytes",
                     {
                         InstanceMethod<&DeviceBytes::Dispose>("dispose"),
                     },
                     const_cast<SoftpackDeviceModule*>(module));
}

// new (bytes: Uint8Array): NativeDeviceBytes
DeviceBytes::DeviceBytes(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceBytes>(info) {
  Arguments arguments(info);
  module_ = static_cast<const SoftpackDeviceModule*>(info.Data());
  const Span<uint8_t> bytes = arguments.Bytes(0, "bytes");
  void* memory = nullptr;
  int status = module_->memory_create(bytes.length, &memory);
  if (status != kSoftpackOk) arguments.Fail(status);
  memory_.bytes.reset(static_cast<uint8_t*>(memory), module_->memory_destroy);
  memory_.length = bytes.length;
  status = module_->memory_write(memory, bytes.data, bytes.length);
  if (status != kSoftpackOk) arguments.Fail(status);
  info.This().As<Napi::Object>().TypeTag(&kTag);
  external_.Report(info.Env(), memory_.length);
}

// dispose(): void
void DeviceBytes::Dispose(const Napi::CallbackInfo& info) { Release(info.Env()); }

void DeviceBytes::Finalize(Napi::BasicEnv env) { Release(env); }

void DeviceBytes::Release(Napi::BasicEnv env) {
  memory_ = {};
  external_.Report(env, 0);
}

DeviceMemory DeviceBytes::Of(const Napi::Value& value, const SoftpackBackend* backend) {
  // Codes mostly are an array, and looking for a tag takes long.
  if (value.IsTypedArray() || !value.IsObject()) return {};
  if (!value.As<Napi::Object>().CheckTypeTag(&kTag)) return {};
  const DeviceBytes* const found = Unwrap(value.As<Napi::Object>());
  if (found->memory_.bytes == nullptr || found->module_->backend != backend) {
    throw Napi::TypeError::New(value.Env(),
                               "codes: expected bytes on this device that are not disposed");
  }
  return found->memory_;
}

}  // namespace softpack
