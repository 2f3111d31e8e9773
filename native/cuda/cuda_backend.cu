// The module's table: operations of core/backend.h on a CUDA device, and those of devices only.
#include <new>

#include "core/device_module.h"
#include "core/thread_pool.h"
#include "cpu/cpu_backend.h"
#include "cuda/decoder.h"
#include "cuda/encoder.h"
#include "cuda/nearest.h"
#include "cuda/operation.h"
#include "cuda/project.h"
#include "cuda/tokens.h"
#include "cuda/transform.h"

namespace softpack {
namespace {

int Info(SoftpackInfo* info) {
  *info = {"cuda", "cuda", ProcessorCount()};
  return kSoftpackOk;
}

// Small integers and pixels that the host has and needs are not worth crossing the bus: these
// operations take arrays in host memory only.
int Pack(const SoftpackPackArgs* args) { return SoftpackCpuBackend()->pack(args); }
int Unpack(const SoftpackUnpackArgs* args) { return SoftpackCpuBackend()->unpack(args); }
int Augment(const SoftpackAugmentArgs* args) { return SoftpackCpuBackend()->augment(args); }

template <class Spec, class Handle, class Object>
int Create(const Spec* spec, Handle** handle) {
  *handle = nullptr;
  Object* const created = new (std::nothrow) Object;
  if (created == nullptr) return kSoftpackOutOfMemory;
  const int status = created->Create(*spec);
  if (status == kSoftpackOk)
    *handle = reinterpret_cast<Handle*>(created);
  else
    delete created;
  return status;
}

const CudaDecoder& Of(const SoftpackDecoder* decoder) {
  return *reinterpret_cast<const CudaDecoder*>(decoder);
}

int Encode(const SoftpackEncoder* encoder, const SoftpackEncodeArgs* args) {
  return reinterpret_cast<const CudaEncoder*>(encoder)->Encode(*args);
}

uint64_t EncoderBytes(const SoftpackEncoder* encoder) {
  return reinterpret_cast<const CudaEncoder*>(encoder)->bytes();
}

void DestroyEncoder(SoftpackEncoder* encoder) { delete reinterpret_cast<CudaEncoder*>(encoder); }

int DecoderInfo(const SoftpackDecoder* decoder, SoftpackDecoderInfo* info) {
  *info = Of(decoder).Info();
  return kSoftpackOk;
}

int Decode(const SoftpackDecoder* decoder, const SoftpackDecodeArgs* args) {
  Operation operation(args->threads);
  return Of(decoder).Decode(operation, *args);
}

int DecodeKlAs(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args, uint32_t type) {
  Operation operation(args->threads);
  return Of(decoder).DecodeKl(operation, *args, type);
}

int DecodeKl(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args) {
  return DecodeKlAs(decoder, args, kSoftpackFloat32);
}

int DecodeWorkspaceBytes(const SoftpackDecoder* decoder, const SoftpackDecodeArgs* args,
                         uint64_t* bytes) {
  Operation operation{Operation::Measure()};
  const int status = Of(decoder).Decode(operation, *args);
  *bytes = WorkspaceBytes(operation.taken());
  return status;
}

int DecodeKlWorkspaceBytes(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args,
                           uint64_t* bytes) {
  Operation operation{Operation::Measure()};
  const int status = Of(decoder).DecodeKl(operation, *args, kSoftpackFloat32);
  *bytes = WorkspaceBytes(operation.taken());
  return status;
}

void DestroyDecoder(SoftpackDecoder* decoder) { delete reinterpret_cast<CudaDecoder*>(decoder); }

const CudaTransform& Of(const SoftpackTransform* transform) {
  return *reinterpret_cast<const CudaTransform*>(transform);
}

void DestroyTransform(SoftpackTransform* transform) {
  delete reinterpret_cast<CudaTransform*>(transform);
}

uint64_t TransformRecordBytes(const SoftpackTransform* transform) {
  return Of(transform).record_bytes();
}

int TransformUnpack(const SoftpackTransform* transform, const SoftpackTransformRow* row) {
  return Of(transform).Unpack(*row);
}

int TransformDecode(const SoftpackTransform* transform, float tau, const SoftpackDecodeArgs* args) {
  Operation operation(args->threads);
  return Of(transform).Decode(operation, tau, *args);
}

int TransformDecodeKl(const SoftpackTransform* transform, float tau,
                      const SoftpackDecodeKlArgs* args, uint32_t type) {
  Operation operation(args->threads);
  return Of(transform).DecodeKl(operation, tau, *args, type);
}

int TransformWorkspaceBytes(const SoftpackTransform* transform, uint64_t count, uint64_t* bytes) {
  Operation operation{Operation::Measure()};
  SoftpackDecodeArgs args = {};
  args.labels.codes_bytes = UINT64_MAX / 2;
  args.labels.count = count;
  // Any address counts as the device's; none would be an array that has to cross.
  args.out = bytes;
  args.labels.base_pairs = reinterpret_cast<const uint32_t*>(bytes);
  args.labels.base_weights = reinterpret_cast<const float*>(bytes);
  const int status = Of(transform).Decode(operation, 1.0f, args);
  *bytes = WorkspaceBytes(operation.taken());
  return status;
}

int TokenKlOf(const SoftpackTokenLabels* labels, const SoftpackDecodeKlArgs* args, uint32_t type) {
  Operation operation(args->threads);
  return TokenKl(operation, *labels, *args, type);
}

int TokenKlWorkspaceBytes(const SoftpackTokenLabels* labels, const SoftpackDecodeKlArgs* args,
                          uint64_t* bytes) {
  Operation operation{Operation::Measure()};
  const int status = TokenKl(operation, *labels, *args, kSoftpackFloat32);
  *bytes = WorkspaceBytes(operation.taken());
  return status;
}

int CreateMemory(uint64_t bytes, void** memory) {
  *memory = nullptr;
  const Operation operation;
  if (!operation.ok()) return operation.status();
  const cudaError_t error = cudaMalloc(memory, bytes == 0 ? 1 : bytes);
  if (error != cudaSuccess) *memory = nullptr;
  return StatusOf(error, "allocating device memory");
}

int WriteMemory(void* memory, const void* from, uint64_t bytes) {
  Operation operation(0);
  operation.CopyIn(memory, from, bytes);
  return operation.Finish();
}

int ReadMemory(const void* memory, void* to, uint64_t bytes) {
  Operation operation(0);
  operation.CopyOut(to, memory, bytes);
  return operation.Finish();
}

void DestroyMemory(void* memory) {
  if (memory != nullptr && DeviceState() == kSoftpackOk) cudaFree(memory);
}

int UseStreamOf(void* stream) { return UseStream(static_cast<cudaStream_t>(stream)); }

int CreateStream(void** stream) {
  *stream = nullptr;
  const int status = StartDevice();
  if (status != kSoftpackOk) return status;
  const CurrentDevice device;
  cudaStream_t created = nullptr;
  const cudaError_t error = cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking);
  *stream = created;
  return StatusOf(error, "creating a stream");
}

void DestroyStream(void* stream) {
  if (stream != nullptr && DeviceState() == kSoftpackOk) {
    cudaStreamDestroy(static_cast<cudaStream_t>(stream));
  }
}

int StopwatchOf(int stop, float* milliseconds) { return Stopwatch(stop != 0, milliseconds); }

constexpr SoftpackBackend kBackend = {
    SOFTPACK_ABI_VERSION,
    sizeof(SoftpackBackend),
    "cuda",
    Info,
    Project,
    Nearest,
    Pack,
    Unpack,
    Create<SoftpackEncoderSpec, SoftpackEncoder, CudaEncoder>,
    Encode,
    DestroyEncoder,
    Create<SoftpackDecoderSpec, SoftpackDecoder, CudaDecoder>,
    DecoderInfo,
    Decode,
    DecodeKl,
    DestroyDecoder,
    Augment,
    EncoderBytes,
};

constexpr SoftpackDeviceModule kModule = {
    SOFTPACK_MODULE_VERSION,
    sizeof(SoftpackDeviceModule),
    &kBackend,
    ProbeDevice,
    StartDevice,
    LastError,
    CreateMemory,
    WriteMemory,
    ReadMemory,
    DestroyMemory,
    UseStreamOf,
    EndStream,
    FinishStream,
    CreateStream,
    DestroyStream,
    CopyOnStream,
    StopwatchOf,
    DecodeWorkspaceBytes,
    DecodeKlWorkspaceBytes,
    UseWorkspace,
    UseDevice,
    DecodeKlAs,
    Create<SoftpackTransformSpec, SoftpackTransform, CudaTransform>,
    DestroyTransform,
    TransformRecordBytes,
    TransformUnpack,
    TransformDecode,
    TransformDecodeKl,
    TransformWorkspaceBytes,
    TokenKlOf,
    TokenKlWorkspaceBytes,
};

}  // namespace
}  // namespace softpack

extern "C"
#if defined(__GNUC__)
    __attribute__((visibility("default")))
#endif
    const SoftpackDeviceModule* SoftpackOpenModule(void) {
  return &softpack::kModule;
}
