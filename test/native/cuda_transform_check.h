#ifndef SOFTPACK_TESTING_CUDA_TRANSFORM_CHECK_H_
#define SOFTPACK_TESTING_CUDA_TRANSFORM_CHECK_H_

namespace softpack {
namespace testing {

// Labels of codec `transform`: indices, latents and labels are the CPU's bytes; losses and
// gradients are held to float64; streams that no encoder writes are found where the CPU finds them.
void CheckTransform(bool on_device);

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_TRANSFORM_CHECK_H_
