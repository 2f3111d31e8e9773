#ifndef SOFTPACK_TESTING_CUDA_VERSIONS_CHECK_H_
#define SOFTPACK_TESTING_CUDA_VERSIONS_CHECK_H_

namespace softpack {
namespace testing {

// Version 2 of `bfloat`, where the module has it.
void CheckVersions();
// Its losses and gradients, likewise.
void CheckVersionLosses();

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_VERSIONS_CHECK_H_
