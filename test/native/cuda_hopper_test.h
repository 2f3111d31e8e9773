// Tests of the emulation's twins of Hopper's instructions: a correct kernel gives the right sums,
// and each of these faults is found.
#ifndef SOFTPACK_TESTING_CUDA_HOPPER_TEST_H_
#define SOFTPACK_TESTING_CUDA_HOPPER_TEST_H_

namespace softpack {

enum class HopperFault {
  kNone,
  kNoFence,       // products before a fence
  kNoWait,        // products of a tile that has not arrived: wrong sums
  kEarlySums,     // sums used before they are waited for
  kEarlyWords,    // registers of a running product written
  kEarlyFree,     // a tile freed while a product reads it
  kEarlyCopy,     // a tile copied over before it was freed
  kWrongBytes,    // fewer bytes expected than arrive
  kOtherSwizzle,  // a descriptor of another swizzle: wrong sums
  kOtherStride,   // of another stride: likewise
  kUnpublished,   // barriers used before their fence
  kNoEndBarrier,  // a block ends while the other still sends to it
  kFaults
};

int TestHopper(HopperFault fault);
int TestPacking();

}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_HOPPER_TEST_H_
