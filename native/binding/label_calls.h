#ifndef SOFTPACK_BINDING_LABEL_CALLS_H_
#define SOFTPACK_BINDING_LABEL_CALLS_H_

#include <memory>

#include "binding/device_bytes.h"
#include "binding/napi_setup.h"
#include "core/label_calls.h"

namespace softpack {

// What a call uses apart from JavaScript's arrays, which the lender keeps.
struct LentCall {
  SoftpackLabelCall call = {};
  std::shared_ptr<SoftpackDecoder> decoder;
  DeviceMemory resident;
};

// Numbers a call for SoftpackLabelCalls of the whole process.
int32_t Lend(const LentCall& call);
// Ends that, waiting for whoever runs the call, and returns the last status.
int Withdraw(int32_t number);

// The SoftpackLabelCalls, for another library.
Napi::Value LabelCalls(const Napi::CallbackInfo& info);

}  // namespace softpack

#endif  // SOFTPACK_BINDING_LABEL_CALLS_H_
