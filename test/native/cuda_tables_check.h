#ifndef SOFTPACK_TESTING_CUDA_TABLES_CHECK_H_
#define SOFTPACK_TESTING_CUDA_TABLES_CHECK_H_

namespace softpack {
namespace testing {

// Version 2 of tables in shared memory, where the module has it: the CPU's bytes.
void CheckTableVersions();

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_TABLES_CHECK_H_
