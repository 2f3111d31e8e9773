// Tests of what surrounds the kernels of the CUDA backend, on the emulated runtime: the device of
// the process, its errors, streams of a caller, and memory that a CUDA graph may hold.
//   cuda_device_test <case>    SOFTPACK_EMULATION says what the device is and how it fails
// Prints `ok`, or what failed; exit code 0 or 1.
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "cases.h"
#include "core/device_module.h"
#include "cuda/platform.h"

extern "C" const SoftpackDeviceModule* SoftpackOpenModule(void);

namespace softpack {
namespace testing {
namespace {

using softpack_emulation::Capture;
using softpack_emulation::Contexts;
using softpack_emulation::Waits;

int failures = 0;

void Expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::printf("failed: %s\n", what);
}

const SoftpackDeviceModule& Module() { return *SoftpackOpenModule(); }

bool LastErrorHas(const char* words) {
  return std::strstr(Module().last_error(), words) != nullptr;
}

constexpr uint64_t kLabels = 97;

// A decoder, its arguments in device memory, and a call that decodes them.
class Call {
 public:
  explicit Call(uint32_t method, const DecodeCase& shape = kDecodes[2])
      : data_(shape, kLabels, 11) {
    data_.spec.head = kSoftpackHeadSoftmax;
    data_.spec.head_parameter = 2.0f;
    data_.spec.method = method;
    status = Module().backend->decoder_create(&data_.spec, &decoder);
    args.labels = data_.Labels(kLabels, true);
    args.labels.codes = Copy(data_.codes);
    args.labels.list = Copy(data_.list);
    if (args.labels.base_pairs != nullptr) {
      args.labels.base_pairs = Copy(data_.pairs);
      args.labels.base_weights = Copy(data_.weights);
    }
    const std::vector<float> poison(kLabels * shape.classes, NAN);
    args.out = Copy(poison);
    args.out_type = kSoftpackFloat32;
    args.threads = 1;
  }
  ~Call() {
    Module().backend->decoder_destroy(decoder);
    for (void* const memory : memory_) Module().memory_destroy(memory);
  }

  int Decode() const { return Module().backend->decode(decoder, &args); }

  std::vector<float> Labels() const {
    std::vector<float> labels(kLabels * data_.spec.classes);
    Expect(
        Module().memory_read(args.out, labels.data(), labels.size() * sizeof(float)) == kSoftpackOk,
        "labels are read");
    return labels;
  }

  void Poison() const {
    const std::vector<float> poison(kLabels * data_.spec.classes, NAN);
    Module().memory_write(args.out, poison.data(), poison.size() * sizeof(float));
  }

  template <class T>
  T* Copy(const std::vector<T>& values) {
    void* memory = nullptr;
    Expect(Module().memory_create(values.size() * sizeof(T), &memory) == kSoftpackOk,
           "memory is allocated");
    Expect(Module().memory_write(memory, values.data(), values.size() * sizeof(T)) == kSoftpackOk,
           "memory is written");
    memory_.push_back(memory);
    return static_cast<T*>(memory);
  }

  int status = kSoftpackOk;
  SoftpackDecoder* decoder = nullptr;
  SoftpackDecodeArgs args = {};

 private:
  DecodeData data_;
  std::vector<void*> memory_;
};

constexpr uint32_t kMethods[] = {kSoftpackMethodLatent, kSoftpackMethodTable, kSoftpackMethodFixed,
                                 kSoftpackMethodBfloat, kSoftpackMethodSplit};

void StatusCreatesNoContext() {
  SoftpackDeviceInfo info = {};
  Expect(Module().probe(&info) == kSoftpackOk, "there is a device");
  Expect(Contexts() == 0, "asking for it creates no context");
  Expect(Module().start() == kSoftpackOk && Contexts() == 1, "starting it creates one");
}

void NoImage() {
  Expect(Module().probe(nullptr) == kSoftpackOk, "there is a device");
  Expect(Module().start() == kSoftpackNoDevice, "without an image it is of no use");
  Expect(LastErrorHas("loading the kernels"), "the reason names the kernels");
  Expect(Module().probe(nullptr) == kSoftpackNoDevice, "and it is so from then on");
}

void OtherDevice() {
  Call call(kSoftpackMethodLatent);
  const std::vector<float> expected =
      (Expect(call.Decode() == kSoftpackOk, "decode"), call.Labels());
  void* foreign = nullptr;
  cudaSetDevice(1);
  cudaMalloc(&foreign, expected.size() * sizeof(float));
  SoftpackDecodeArgs args = call.args;
  args.out = foreign;
  Expect(Module().backend->decode(call.decoder, &args) == kSoftpackInvalidArgument,
         "memory of another device is refused");
  Expect(LastErrorHas("another device"), "with the reason");
  int device = 0;
  cudaGetDevice(&device);
  Expect(device == 1, "the thread's device stays what it was");
  call.Poison();
  Expect(call.Decode() == kSoftpackOk && call.Labels() == expected,
         "and the next call works, whatever the thread's device");
  cudaPointerAttributes attributes = {};
  cudaPointerGetAttributes(&attributes, call.Copy(expected));
  Expect(attributes.device == 0, "memory is allocated on the device of the process");
  cudaFree(foreign);
}

void ChosenDevice() {
  Call call(kSoftpackMethodLatent);
  cudaPointerAttributes attributes = {};
  cudaPointerGetAttributes(&attributes, call.args.out);
  Expect(attributes.device == 1, "SOFTPACK_CUDA_DEVICE is the device of the process");
  Expect(call.Decode() == kSoftpackOk, "decode");
  int device = 1;
  cudaGetDevice(&device);
  Expect(device == 0, "the thread's device stays what it was");
}

void UnknownDevice() {
  Expect(Module().probe(nullptr) == kSoftpackNoDevice, "an unknown device is none");
  Expect(LastErrorHas("SOFTPACK_CUDA_DEVICE"), "with the reason");
}

void UseDevice() {
  Expect(Module().use_device(1) == kSoftpackOk, "a device is chosen before the first use");
  Call call(kSoftpackMethodLatent);
  cudaPointerAttributes attributes = {};
  cudaPointerGetAttributes(&attributes, call.args.out);
  Expect(attributes.device == 1, "and is the device of the process");
  Expect(call.Decode() == kSoftpackOk, "decode");
  Expect(Module().use_device(1) == kSoftpackOk, "again the same one");
  Expect(Module().use_device(0) == kSoftpackInvalidArgument, "later no other");
  Expect(LastErrorHas("on device 1"), "with the reason");
  Expect(call.Decode() == kSoftpackOk, "and the first one works on");
}

void UseUnknownDevice() {
  Expect(Module().use_device(7) == kSoftpackInvalidArgument, "an unknown device is none");
  Expect(Module().use_device(-1) == kSoftpackInvalidArgument, "nor is a negative one");
  Expect(Module().start() == kSoftpackOk, "and the current one is the process's");
}

// With `refuse:<n>` and with `launch:<n>` of a code: whether the device goes on.
void Refused() {
  Call call(kSoftpackMethodLatent);
  int status = kSoftpackOk, calls = 0;
  while (status == kSoftpackOk && ++calls < 100) status = call.Decode();
  Expect(status == kSoftpackDeviceRefused, "a refused launch is told");
  SoftpackDeviceInfo info = {};
  Expect(Module().probe(&info) == kSoftpackOk, "the device goes on");
  Expect(std::strstr(info.refused, "cudaErrorInvalidValue") != nullptr, "and remembers why");
  Expect(call.Decode() == kSoftpackOk, "the next call works");
}

void Sticky() {
  Call call(kSoftpackMethodLatent);
  int status = kSoftpackOk, calls = 0;
  while (status == kSoftpackOk && ++calls < 100) status = call.Decode();
  Expect(status == kSoftpackDeviceLost, "the device is lost");
  Expect(call.Decode() == kSoftpackDeviceLost, "for good");
}

// Two decoders whose kernels take different amounts of shared memory, on two threads.
void SharedMemory() {
  std::vector<std::thread> threads;
  std::vector<int> statuses(2, kSoftpackFailed);
  for (size_t t = 0; t < statuses.size(); ++t) {
    threads.emplace_back([&statuses, t] {
      const Call call(kSoftpackMethodSplit, kDecodes[t == 0 ? 2 : 7]);
      statuses[t] = call.Decode();
      for (int i = 0; i < 3 && statuses[t] == kSoftpackOk; ++i) statuses[t] = call.Decode();
    });
  }
  for (std::thread& thread : threads) thread.join();
  Expect(statuses[0] == kSoftpackOk && statuses[1] == kSoftpackOk,
         "limits of shared memory are set once");
}

// CUDA's default stream, which is null, as PyTorch uses it.
void DefaultStream() {
  Call call(kSoftpackMethodTable);
  Expect(call.Decode() == kSoftpackOk, "decode");
  const std::vector<float> expected = call.Labels();
  call.Poison();
  Expect(Module().finish() == kSoftpackInvalidArgument, "no stream, nothing to finish");
  Expect(Module().use_stream(nullptr) == kSoftpackOk, "the default stream is taken");
  const int waits = Waits();
  Expect(call.Decode() == kSoftpackOk, "decode on it");
  Expect(Waits() == waits, "without a wait");
  Expect(Module().finish() == kSoftpackOk && Waits() > waits, "until it is asked for");
  Expect(call.Labels() == expected, "the same labels");
  Expect(Module().end_stream() == kSoftpackOk, "its use ends");
  const int before = Waits();
  Expect(call.Decode() == kSoftpackOk && Waits() > before, "and calls wait again");
}

void CheckCaptured(uint32_t method) {
  Call call(method, kDecodes[3]);
  Expect(call.Decode() == kSoftpackOk, "decode");
  const std::vector<float> expected = call.Labels();
  call.Poison();
  uint64_t bytes = 0;
  Expect(
      Module().decode_workspace_bytes(call.decoder, &call.args, &bytes) == kSoftpackOk && bytes > 0,
      "the workspace is measured");
  Expect(call.Labels()[0] != call.Labels()[0], "which decodes nothing");

  constexpr uint64_t kGuard = 256;
  char* const workspace = call.Copy(std::vector<char>(bytes + kGuard + 256, 0x55));
  char* const aligned = workspace + (256 - reinterpret_cast<uintptr_t>(workspace) % 256) % 256;
  Expect(Module().use_stream(nullptr) == kSoftpackOk, "a stream");
  Expect(Module().use_workspace(aligned + 8, bytes) == kSoftpackInvalidArgument, "aligned");
  Expect(Module().use_workspace(aligned, bytes) == kSoftpackOk, "a workspace");
  Capture(true);
  Expect(call.Decode() == kSoftpackOk, "decode while the stream is captured");
  Expect(call.Decode() == kSoftpackOk, "and again");
  Capture(false);
  Expect(Module().finish() == kSoftpackOk, "finish");
  Expect(call.Labels() == expected, "the same labels");
  for (uint64_t i = 0; i < kGuard; ++i) Expect(aligned[bytes + i] == 0x55, "within its bytes");

  std::vector<float> host(expected.size());
  SoftpackDecodeArgs args = call.args;
  args.out = host.data();
  Expect(Module().backend->decode(call.decoder, &args) == kSoftpackInvalidArgument,
         "host memory is refused");
  Expect(Module().use_workspace(aligned, bytes - 256) == kSoftpackOk, "a smaller one");
  Expect(call.Decode() == kSoftpackOutOfMemory && LastErrorHas("workspace"), "is too small");
  Expect(Module().use_workspace(nullptr, 0) == kSoftpackOk, "and none");
  Expect(call.Decode() == kSoftpackOk, "decode without");
  Expect(Module().end_stream() == kSoftpackOk, "the stream's use ends");
  Expect(Module().use_workspace(aligned, bytes) == kSoftpackInvalidArgument, "needs a stream");
}

void Captured() {
  for (const uint32_t method : kMethods) CheckCaptured(method);
}

// Wrong codes are told by `finish`, from a workspace too.
void CapturedFault() {
  Call call(kSoftpackMethodTable);
  uint64_t bytes = 0;
  Module().decode_workspace_bytes(call.decoder, &call.args, &bytes);
  call.args.labels.list = call.Copy(std::vector<uint32_t>(kLabels, 1u << 30));
  char* const workspace = call.Copy(std::vector<char>(bytes + 256));
  char* const aligned = workspace + (256 - reinterpret_cast<uintptr_t>(workspace) % 256) % 256;
  Module().use_stream(nullptr);
  Module().use_workspace(aligned, bytes);
  Capture(true);
  Expect(call.Decode() == kSoftpackOk, "nothing is known yet");
  Capture(false);
  Expect(Module().finish() == kSoftpackInvalidArgument, "wrong labels are told");
  Expect(Module().finish() == kSoftpackOk, "once");
  Expect(Module().end_stream() == kSoftpackOk, "the stream's use ends");
}

}  // namespace
}  // namespace testing
}  // namespace softpack

int main(int argc, char** argv) {
  using namespace softpack::testing;
  const std::map<std::string, void (*)()> cases = {
      {"status", StatusCreatesNoContext},
      {"no-image", NoImage},
      {"other-device", OtherDevice},
      {"chosen-device", ChosenDevice},
      {"unknown-device", UnknownDevice},
      {"use-device", UseDevice},
      {"use-unknown-device", UseUnknownDevice},
      {"refused", Refused},
      {"sticky", Sticky},
      {"shared-memory", SharedMemory},
      {"default-stream", DefaultStream},
      {"captured", Captured},
      {"captured-fault", CapturedFault},
  };
  const auto found = cases.find(argc > 1 ? argv[1] : "");
  if (found == cases.end()) {
    std::fprintf(stderr, "usage: cuda_device_test <case>\n");
    return 2;
  }
  found->second();
  if (failures == 0) std::printf("ok\n");
  return failures == 0 ? 0 : 1;
}
