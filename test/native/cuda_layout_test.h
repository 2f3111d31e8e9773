#ifndef SOFTPACK_TESTING_CUDA_LAYOUT_TEST_H_
#define SOFTPACK_TESTING_CUDA_LAYOUT_TEST_H_

namespace softpack {

// 0 if all checks pass; prints those that do not.
int TestLayouts();

}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_LAYOUT_TEST_H_
