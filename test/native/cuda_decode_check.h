#ifndef SOFTPACK_TESTING_CUDA_DECODE_CHECK_H_
#define SOFTPACK_TESTING_CUDA_DECODE_CHECK_H_

namespace softpack {
namespace testing {

// Which methods `auto` chooses; its bytes must be the CPU's where they are promised.
void CheckMethods();
// Every method over odd shapes, and over many labels.
void CheckDecoders(bool on_device);
// Several tiles of labels and of classes for the methods that multiply on tensor cores.
void CheckTiles();
// More concurrent callers than there are lanes; each result must be as if alone.
void CheckThreads();

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_DECODE_CHECK_H_
