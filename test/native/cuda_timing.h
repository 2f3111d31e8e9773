#ifndef SOFTPACK_TESTING_CUDA_TIMING_H_
#define SOFTPACK_TESTING_CUDA_TIMING_H_

#include "core/device_module.h"

namespace softpack {
namespace testing {

// Times every operation in the paper's settings by the device's own clock, all arrays in its memory
// and a different part of them each time; prints a table and writes it as JSON. False if
// something failed. Fewer than 4,096 labels only try the program: one setting, one round.
bool WriteTimings(const SoftpackDeviceModule& module, const SoftpackDeviceInfo& info,
                  const char* file, uint64_t labels);

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_TIMING_H_
