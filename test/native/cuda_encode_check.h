#ifndef SOFTPACK_TESTING_CUDA_ENCODE_CHECK_H_
#define SOFTPACK_TESTING_CUDA_ENCODE_CHECK_H_

namespace softpack {
namespace testing {

// Projections, nearest codewords and whole encoders: the CPU's bytes, and near a float64 reference.
void CheckEncoders(bool on_device);

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_ENCODE_CHECK_H_
