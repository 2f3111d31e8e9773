// Checks a CUDA module without Node.js: replays the cases of cases.h on the CPU backend and on the
// module, from host memory and from device memory.
//   native_cuda_check <module> [--brief | --time <file.json> [labels]]
// If a backend promises the CPU's bytes, bytes are compared; every result is also compared with a
// float64 reference. Exit code 0 if all checks pass, 1 if not, 3 if the module finds no device.
// --brief runs the cases that reach every kernel once, for sanitizers. --time continues, if all
// checks pass, with the measurements of cuda_timing.h.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/device_module.h"
#include "cpu/cpu_backend.h"
#include "cuda_decode_check.h"
#include "cuda_encode_check.h"
#include "cuda_encode_versions_check.h"
#include "cuda_harness.h"
#include "cuda_tables_check.h"
#include "cuda_timing.h"
#include "cuda_tokens_check.h"
#include "cuda_transform_check.h"
#include "cuda_versions_check.h"

namespace softpack {
namespace testing {
namespace {

bool Open(const char* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return false;
  }
  const auto open =
      reinterpret_cast<SoftpackOpenModuleFunction>(dlsym(library, SOFTPACK_MODULE_SYMBOL));
  if (open == nullptr) {
    std::fprintf(stderr, "%s: no %s\n", path, SOFTPACK_MODULE_SYMBOL);
    return false;
  }
  module = open();
  cuda = module->backend;
  cpu = SoftpackCpuBackend();
  return module->module_version == SOFTPACK_MODULE_VERSION &&
         cuda->abi_version == SOFTPACK_ABI_VERSION;
}

int Run(const char* path, const char* timings, uint64_t labels) {
  if (!Open(path)) return 2;
  SoftpackDeviceInfo info = {};
  const int status = module->probe(&info);
  if (status != kSoftpackOk) {
    std::printf("no device: %s\n", Reason(status).c_str());
    return 3;
  }
  std::printf("device: %s, compute capability %u.%u, %u multiprocessors, %.1f GiB\n", info.name,
              info.capability_major, info.capability_minor, info.multiprocessors,
              static_cast<double>(info.memory_bytes) / (1 << 30));
  emulated = std::string(info.name).rfind("emulated", 0) == 0;
  CheckMethods();
  for (const bool on_device : {false, true}) {
    if (brief && on_device) continue;
    CheckEncoders(on_device);
    CheckDecoders(on_device);
    CheckTransform(on_device);
    CheckTokens(on_device);
  }
  CheckTiles();
  CheckEncodeVersions();
  CheckThreads();
  // Clusters last: the thread sanitizer takes longer for all that follows the most threads at once.
  CheckVersions();
  CheckTableVersions();
  std::printf("%d checks, %d failed\n", checks, failures);
  if (failures > 0) return 1;
  return timings == nullptr || WriteTimings(*module, info, timings, labels) ? 0 : 1;
}

}  // namespace
}  // namespace testing
}  // namespace softpack

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr,
                 "usage: native_cuda_check <module> [--brief | --time <file.json> [labels]]\n");
    return 2;
  }
  softpack::testing::brief = argc > 2 && std::string(argv[2]) == "--brief";
  const bool timed = argc > 3 && std::string(argv[2]) == "--time";
  const uint64_t labels = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : uint64_t{1} << 18;
  softpack::testing::brief |= timed && labels < 4096;
  return softpack::testing::Run(argv[1], timed ? argv[3] : nullptr, labels);
}
