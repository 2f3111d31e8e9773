#ifndef SOFTPACK_TESTING_CUDA_ENCODE_VERSIONS_CHECK_H_
#define SOFTPACK_TESTING_CUDA_ENCODE_VERSIONS_CHECK_H_

namespace softpack {
namespace testing {

// Version 2 of encoding, where the module has it.
void CheckEncodeVersions();

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_ENCODE_VERSIONS_CHECK_H_
