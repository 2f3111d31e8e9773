// Operations of TensorFlow that decode labels, in a library that `softpack tensorflow install`
// builds beside the binding of TensorFlow.js: labels are written into TensorFlow's own memory.
//
//   SoftpackDecode(call) -> labels [count, classes]
//   SoftpackDecodeKl(call, logits [count, classes]) -> losses [count], gradient [count, classes]
//
// and, where it is built with device_stream.cc, SoftpackDecodeOnDevice and
// SoftpackDecodeKlOnDevice: the same on a GPU, for decoders of the CUDA module, on TensorFlow's own
// stream. Compiled, but not run on a GPU yet.
//
// `call` is the number of a call that the addon lends (core/label_calls.h): its decoder, codes and
// labels. Everything here is C: the interfaces of TensorFlow's kernels, of Node-API and of the
// addon, so no compiler's library matters.
#include <node_api.h>
#include <tensorflow/c/kernels.h>
#include <tensorflow/c/ops.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include "core/label_calls.h"

// Kernels of operations on a device are registered for this one; a test registers them for the
// processor.
#ifndef SOFTPACK_TENSORFLOW_DEVICE_NAME
#define SOFTPACK_TENSORFLOW_DEVICE_NAME "GPU"
#endif

namespace {

// kTag of native/binding/label_calls.cc.
constexpr napi_type_tag kCallsTag = {0x3b60d7c5e2f94a18, 0xb5d41f7093ce628a};

// The addon's; set once, by the first environment that loads this library.
std::atomic<const SoftpackLabelCalls*> calls = nullptr;

template <auto Delete>
struct Deleter {
  template <class T>
  void operator()(T* object) const {
    Delete(object);
  }
};
using Status = std::unique_ptr<TF_Status, Deleter<TF_DeleteStatus>>;
using Tensor = std::unique_ptr<TF_Tensor, Deleter<TF_DeleteTensor>>;

// One execution of a kernel. Its first failure is reported to TensorFlow, as the error of the
// operation.
class Execution {
 public:
  explicit Execution(TF_OpKernelContext* context) : context_(context) {}
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  ~Execution() {
    if (call_ != nullptr) calls.load()->give(call_, status_);
    if (!ok()) TF_OpKernelContext_Failure(context_, failure_.get());
  }

  bool ok() const { return TF_GetCode(failure_.get()) == TF_OK; }

  void Refuse(const char* message) {
    if (ok()) TF_SetStatus(failure_.get(), TF_INVALID_ARGUMENT, message);
  }

  // Null after a failure.
  Tensor Input(int index) {
    TF_Tensor* tensor = nullptr;
    if (ok()) TF_GetInput(context_, index, &tensor, failure_.get());
    return Tensor(tensor);
  }

  // Memory of TensorFlow for the output; null after a failure, and if it has no elements.
  float* Output(int index, std::initializer_list<int64_t> shape) {
    if (!ok()) return nullptr;
    size_t bytes = sizeof(float);
    for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
    const Tensor tensor(TF_AllocateOutput(context_, index, TF_FLOAT, shape.begin(),
                                          static_cast<int>(shape.size()), bytes, failure_.get()));
    return ok() ? static_cast<float*>(TF_TensorData(tensor.get())) : nullptr;
  }

  // The call that input 0 names; null after a failure.
  const SoftpackLabelCall* Call() {
    const Tensor number = Input(0);
    if (!ok()) return nullptr;
    if (TF_TensorElementCount(number.get()) != 1) {
      Refuse("call: expected one number");
      return nullptr;
    }
    call_ = calls.load()->take(*static_cast<const int32_t*>(TF_TensorData(number.get())));
    if (call_ == nullptr) Refuse("call: not the number of a call that softpack lends");
    return call_;
  }

  // Notes what a backend returned.
  void End(int status) {
    status_ = status;
    if (status == kSoftpackOk) return;
    char message[64];
    std::snprintf(message, sizeof(message), "softpack: status %d", status);
    TF_SetStatus(failure_.get(), TF_INTERNAL, message);
  }

 private:
  TF_OpKernelContext* const context_;
  const Status failure_{TF_NewStatus()};
  const SoftpackLabelCall* call_ = nullptr;
  int status_ = SOFTPACK_NOT_RUN;
};

#ifdef SOFTPACK_TENSORFLOW_DEVICE

extern "C" void* SoftpackStreamOf(TF_OpKernelContext* kernel);

// Runs `work` on TensorFlow's stream and waits for it, as only then are wrong codes known.
template <class Work>
int OnStream(const SoftpackLabelCall& call, TF_OpKernelContext* context, const Work& work) {
  void* const stream = SoftpackStreamOf(context);
  if (call.module == nullptr || stream == nullptr) return kSoftpackNoDevice;
  int status = call.module->use_stream(stream);
  if (status != kSoftpackOk) return status;
  status = work();
  const int ended = call.module->end_stream();
  return status == kSoftpackOk ? ended : status;
}

#endif

enum Where { kHost, kDevice };

template <Where where, class Work>
int Run(const SoftpackLabelCall& call, TF_OpKernelContext* context, const Work& work) {
#ifdef SOFTPACK_TENSORFLOW_DEVICE
  if constexpr (where == kDevice) return OnStream(call, context, work);
#endif
  return work();
}

template <Where where>
void Decode(void*, TF_OpKernelContext* context) {
  Execution execution(context);
  const SoftpackLabelCall* const call = execution.Call();
  if (call == nullptr) return;
  const auto count = static_cast<int64_t>(call->labels.count);
  const auto classes = static_cast<int64_t>(call->classes);
  SoftpackDecodeArgs args = {};
  args.labels = call->labels;
  args.out = execution.Output(0, {count, classes});
  args.out_type = kSoftpackFloat32;
  args.threads = call->threads;
  if (!execution.ok()) return;
  execution.End(
      Run<where>(*call, context, [&] { return call->backend->decode(call->decoder, &args); }));
}

bool HasShape(const TF_Tensor* tensor, int64_t rows, int64_t columns) {
  return TF_NumDims(tensor) == 2 && TF_Dim(tensor, 0) == rows && TF_Dim(tensor, 1) == columns;
}

template <Where where>
void DecodeKl(void*, TF_OpKernelContext* context) {
  Execution execution(context);
  const SoftpackLabelCall* const call = execution.Call();
  const Tensor logits = execution.Input(1);
  if (!execution.ok()) return;
  const auto count = static_cast<int64_t>(call->labels.count);
  const auto classes = static_cast<int64_t>(call->classes);
  if (!HasShape(logits.get(), count, classes)) {
    return execution.Refuse("logits: expected [labels, classes] of the call");
  }
  SoftpackDecodeKlArgs args = {};
  args.labels = call->labels;
  args.logits = static_cast<const float*>(TF_TensorData(logits.get()));
  args.losses = execution.Output(0, {count});
  args.gradient = execution.Output(1, {count, classes});
  args.tau = call->tau;
  args.scale = call->scale;
  args.loss = kSoftpackLossKl;
  args.threads = call->threads;
  if (!execution.ok()) return;
  execution.End(
      Run<where>(*call, context, [&] { return call->backend->decode_kl(call->decoder, &args); }));
}

void UnknownShapes(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
}

// An operation, with inputs and outputs as TensorFlow writes them.
struct Operation {
  const char* name;
  std::initializer_list<const char*> inputs;
  std::initializer_list<const char*> outputs;
  void (*compute)(void*, TF_OpKernelContext*);
  const char* device = "CPU";
};

const Operation kOperations[] = {
    {"SoftpackDecode", {"call: int32"}, {"labels: float"}, Decode<kHost>},
    {"SoftpackDecodeKl",
     {"call: int32", "logits: float"},
     {"losses: float", "gradient: float"},
     DecodeKl<kHost>},
#ifdef SOFTPACK_TENSORFLOW_DEVICE
    {"SoftpackDecodeOnDevice",
     {"call: int32"},
     {"labels: float"},
     Decode<kDevice>,
     SOFTPACK_TENSORFLOW_DEVICE_NAME},
    {"SoftpackDecodeKlOnDevice",
     {"call: int32", "logits: float"},
     {"losses: float", "gradient: float"},
     DecodeKl<kDevice>,
     SOFTPACK_TENSORFLOW_DEVICE_NAME},
#endif
};

void Define(const Operation& operation, TF_Status* status) {
  TF_OpDefinitionBuilder* const builder = TF_NewOpDefinitionBuilder(operation.name);
  for (const char* input : operation.inputs) TF_OpDefinitionBuilderAddInput(builder, input);
  for (const char* output : operation.outputs) TF_OpDefinitionBuilderAddOutput(builder, output);
  // Equal numbers do not mean equal results.
  TF_OpDefinitionBuilderSetIsStateful(builder, true);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, UnknownShapes);
  TF_RegisterOpDefinition(builder, status);
  if (TF_GetCode(status) != TF_OK) return;
  TF_KernelBuilder* const kernel =
      TF_NewKernelBuilder(operation.name, operation.device, nullptr, operation.compute, nullptr);
  TF_KernelBuilder_HostMemory(kernel, "call");
  TF_RegisterKernelBuilder(operation.name, kernel, status);
}

// Registers everything, once in a process; what went wrong, or an empty text.
const std::string& DefineAll() {
  static const auto* const problem = [] {
    const Status status(TF_NewStatus());
    for (const Operation& operation : kOperations) {
      if (TF_GetCode(status.get()) == TF_OK) Define(operation, status.get());
    }
    return new std::string(TF_GetCode(status.get()) == TF_OK ? "" : TF_Message(status.get()));
  }();
  return *problem;
}

std::string StartWith(const SoftpackLabelCalls* given) {
  if (given->version != SOFTPACK_LABEL_CALLS_VERSION ||
      given->abi_version != SOFTPACK_ABI_VERSION) {
    return "built for another version of softpack";
  }
  const SoftpackLabelCalls* before = nullptr;
  if (!calls.compare_exchange_strong(before, given) && before != given) {
    return "in use by another softpack in this process";
  }
  return DefineAll();
}

// start(calls: External): string, empty if the operations can be used, else what is wrong
napi_value Start(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  bool tagged = false;
  void* given = nullptr;
  std::string problem = "expected the calls of softpack's addon";
  if (napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr) == napi_ok && count == 1 &&
      napi_check_object_type_tag(env, argument, &kCallsTag, &tagged) == napi_ok && tagged &&
      napi_get_value_external(env, argument, &given) == napi_ok) {
    problem = StartWith(static_cast<const SoftpackLabelCalls*>(given));
  }
  napi_value result = nullptr;
  napi_create_string_utf8(env, problem.c_str(), problem.size(), &result);
  return result;
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value start = nullptr;
  if (napi_create_function(env, "start", NAPI_AUTO_LENGTH, Start, nullptr, &start) == napi_ok) {
    napi_set_named_property(env, exports, "start", start);
  }
#ifdef SOFTPACK_TENSORFLOW_DEVICE
  napi_value device = nullptr;
  if (napi_get_boolean(env, true, &device) == napi_ok) {
    napi_set_named_property(env, exports, "device", device);
  }
#endif
  return exports;
}
