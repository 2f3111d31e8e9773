// Replaces the CUDA module in tests of everything around it: the CPU's kernels, and failures on
// demand. SOFTPACK_FAKE_MODULE names one; without it nothing fails:
//   version        a module of another version
//   abi            a table of operations of another version
//   short          a table that ends before `decode`
//   no-device      no device, with a reason
//   no-start       a device whose context cannot be created
//   refuses:<n>    the n-th operation is refused, the next ones go on
//   dies:<n>       from the n-th operation on the device is lost
//   full:<n>       the n-th operation runs out of memory, the next ones go on
//   throws:<n>     the n-th operation throws std::bad_alloc, as no backend should
//   breaks:<n>     the n-th operation throws an unknown type
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "core/device_module.h"
#include "cpu/cpu_backend.h"

namespace {

std::string Plan() {
  const char* const plan = std::getenv("SOFTPACK_FAKE_MODULE");
  return plan == nullptr ? "" : plan;
}

long NumberOf(const char* name) {
  const std::string plan = Plan();
  const size_t length = std::strlen(name);
  return plan.compare(0, length, name) == 0 ? std::atol(plan.c_str() + length) : -1;
}

std::atomic<long> operations{0};
std::atomic<bool> dead{false};
thread_local const char* last_error = "nothing has failed";

// Failure of the next operation.
int Meet() {
  const long number = ++operations;
  if (number == NumberOf("dies:")) dead = true;
  if (dead) {
    last_error = "a fake illegal address (CUDA error 700)";
    return kSoftpackDeviceLost;
  }
  if (number == NumberOf("refuses:")) {
    last_error = "a fake refusal";
    return kSoftpackDeviceRefused;
  }
  if (number == NumberOf("full:")) {
    last_error = "a fake lack of memory";
    return kSoftpackOutOfMemory;
  }
  if (number == NumberOf("throws:")) throw std::bad_alloc();
  if (number == NumberOf("breaks:")) throw number;
  return kSoftpackOk;
}

const SoftpackBackend& Cpu() { return *SoftpackCpuBackend(); }

template <auto Operation, class... Args>
int Counted(Args... args) {
  const int status = Meet();
  return status == kSoftpackOk ? (Cpu().*Operation)(args...) : status;
}

int Probe(SoftpackDeviceInfo* info) {
  if (info != nullptr) {
    *info = {};
    std::snprintf(info->name, sizeof info->name, "a fake device");
    info->capability_major = 9;
    info->memory_bytes = uint64_t{1} << 30;
    if (operations >= NumberOf("refuses:") && NumberOf("refuses:") > 0) {
      std::snprintf(info->refused, sizeof info->refused, "a fake refusal");
    }
  }
  if (Plan() == "no-device") {
    last_error = "a fake missing driver (CUDA error 35)";
    return kSoftpackNoDevice;
  }
  return dead ? kSoftpackDeviceLost : kSoftpackOk;
}

int Start() {
  if (Plan() != "no-start") return Probe(nullptr);
  last_error = "a fake lack of kernels (CUDA error 209)";
  return kSoftpackNoDevice;
}

const char* LastError() { return last_error; }

int CreateMemory(uint64_t bytes, void** memory) {
  *memory = std::malloc(bytes + 1);
  return *memory == nullptr ? kSoftpackOutOfMemory : kSoftpackOk;
}
int Write(void* memory, const void* from, uint64_t bytes) {
  std::memcpy(memory, from, bytes);
  return kSoftpackOk;
}
int Read(const void* memory, void* to, uint64_t bytes) {
  std::memcpy(to, memory, bytes);
  return kSoftpackOk;
}
int UseStream(void*) { return kSoftpackOk; }
int EndStream() { return kSoftpackOk; }
int Finish() { return kSoftpackOk; }

SoftpackBackend MakeBackend() {
  SoftpackBackend backend = Cpu();
  using B = SoftpackBackend;
  backend.name = "fake";
  backend.project = Counted<&B::project, const SoftpackProjectArgs*>;
  backend.nearest = Counted<&B::nearest, const SoftpackNearestArgs*>;
  backend.encoder_create =
      Counted<&B::encoder_create, const SoftpackEncoderSpec*, SoftpackEncoder**>;
  backend.encode = Counted<&B::encode, const SoftpackEncoder*, const SoftpackEncodeArgs*>;
  backend.decoder_create =
      Counted<&B::decoder_create, const SoftpackDecoderSpec*, SoftpackDecoder**>;
  backend.decode = Counted<&B::decode, const SoftpackDecoder*, const SoftpackDecodeArgs*>;
  backend.decode_kl = Counted<&B::decode_kl, const SoftpackDecoder*, const SoftpackDecodeKlArgs*>;
  if (Plan() == "abi") ++backend.abi_version;
  if (Plan() == "short") backend.size = offsetof(SoftpackBackend, decode);
  return backend;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const SoftpackDeviceModule* SoftpackOpenModule(
    void) {
  static const SoftpackBackend backend = MakeBackend();
  static const SoftpackDeviceModule module = {
      Plan() == "version" ? SOFTPACK_MODULE_VERSION + 1 : SOFTPACK_MODULE_VERSION,
      sizeof(SoftpackDeviceModule),
      &backend,
      Probe,
      Start,
      LastError,
      CreateMemory,
      Write,
      Read,
      std::free,
      UseStream,
      EndStream,
      Finish,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
  };
  return &module;
}
