#include "core/status.h"

extern "C" const char* SoftpackStatusText(int status) {
  switch (status) {
    case kSoftpackOk:
      return "done";
    case kSoftpackInvalidArgument:
      return "arguments contradict each other";
    case kSoftpackInvalidCodes:
      return "an index beyond the codebook";
    case kSoftpackOutOfMemory:
      return "out of memory";
    case kSoftpackUnsupportedIsa:
      return "SOFTPACK_ISA names an instruction set that this processor or build lacks";
    case kSoftpackUnsupportedMethod:
      return "the method asked for needs a unit that this processor lacks";
    case kSoftpackNoDevice:
      return "no device that this backend can run on";
    case kSoftpackDeviceLost:
      return "the device failed and cannot be used again by this process";
    case kSoftpackFailed:
      return "native code failed unexpectedly";
    case kSoftpackNotFinite:
      return "a label's values are beyond float32: the decoder's tensors are too large";
    case kSoftpackDeviceRefused:
      return "the device refused an operation";
    default:
      return "unknown status";
  }
}
