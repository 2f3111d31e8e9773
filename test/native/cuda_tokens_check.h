#ifndef SOFTPACK_TESTING_CUDA_TOKENS_CHECK_H_
#define SOFTPACK_TESTING_CUDA_TOKENS_CHECK_H_

namespace softpack {
namespace testing {

// Losses of tokens, held to float64; gradients also to differences of float64 losses.
void CheckTokens(bool on_device);

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_TOKENS_CHECK_H_
