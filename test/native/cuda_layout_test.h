#ifndef SOFTPACK_TESTING_CUDA_LAYOUT_TEST_H_
#define SOFTPACK_TESTING_CUDA_LAYOUT_TEST_H_

namespace softpack {

// 0 where all held; says what did not.
int TestLayouts();

}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_LAYOUT_TEST_H_
