// The result of every native operation: 0, or the reason of a failure.
#ifndef SOFTPACK_CORE_STATUS_H_
#define SOFTPACK_CORE_STATUS_H_

#ifdef __cplusplus
extern "C" {
#endif

enum SoftpackStatus {
  kSoftpackOk = 0,
  // An argument contradicts another one, e.g. labels beyond the end of the codes.
  kSoftpackInvalidArgument = 1,
  // A packed index is not below the number of codewords.
  kSoftpackInvalidCodes = 2,
  kSoftpackOutOfMemory = 3,
  // SOFTPACK_ISA names an instruction set that this build or this processor lacks.
  kSoftpackUnsupportedIsa = 4,
  // The method asked for needs a unit that this processor lacks.
  kSoftpackUnsupportedMethod = 5,
  // No device that this backend can run on.
  kSoftpackNoDevice = 6,
  // The device failed in a way that ends its use by this process; results may be lost.
  kSoftpackDeviceLost = 7,
  // An exception that no code here foresees.
  kSoftpackFailed = 8,
  // A decoder's tensors give values that float32 cannot hold, so the label is none.
  kSoftpackNotFinite = 9,
  // The device refused one operation, e.g. a launch, and goes on.
  kSoftpackDeviceRefused = 10,
};

// A static sentence for people; never null.
const char* SoftpackStatusText(int status);

#ifdef __cplusplus
}
#endif

#endif  // SOFTPACK_CORE_STATUS_H_
