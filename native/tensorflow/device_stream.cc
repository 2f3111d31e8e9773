// The stream that TensorFlow puts a kernel's work on. TensorFlow's C interface gives it for
// pluggable devices only, so this file alone is compiled against its C++ headers, with the wheel's
// layout of std::string.
#include <tensorflow/c/kernels.h>
#include <tensorflow/core/framework/device_base.h>
#include <tensorflow/core/framework/op_kernel.h>
#include <xla/stream_executor/stream.h>

// A cudaStream_t; null if the kernel does not run on a GPU.
extern "C" void* SoftpackStreamOf(TF_OpKernelContext* kernel) {
  // What tensorflow/c/kernels.cc hands out.
  auto* const context = reinterpret_cast<tensorflow::OpKernelContext*>(kernel);
  tensorflow::DeviceContext* const device = context->op_device_context();
  if (device == nullptr || device->stream() == nullptr) return nullptr;
  return device->stream()->platform_specific_handle().stream;
}
