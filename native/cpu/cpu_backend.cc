#include "cpu/cpu_backend.h"

#include <new>

#include "core/bits.h"
#include "core/thread_pool.h"
#include "cpu/buffer.h"
#include "cpu/decoder.h"
#include "cpu/dispatch.h"
#include "cpu/encoder.h"
#include "cpu/operations.h"

namespace softpack {
namespace {

int Info(SoftpackInfo* info) {
  const Isa* const isa = SelectedIsa();
  *info = {isa == nullptr ? nullptr : isa->name, AvailableIsas(), ProcessorCount()};
  return kSoftpackOk;
}

// An operation on the selected kernels.
template <class Args, int (*Operation)(const KernelTable&, const Args&)>
int OnSelected(const Args* args) {
  const Isa* const isa = SelectedIsa();
  return isa == nullptr ? kSoftpackUnsupportedIsa : Operation(*isa->kernels, *args);
}

int NearestOnSelected(const SoftpackNearestArgs* args) {
  const Isa* const isa = SelectedIsa();
  return isa == nullptr ? kSoftpackUnsupportedIsa : Nearest(*isa, *args);
}

int Pack(const SoftpackPackArgs* args) {
  PackIndices(args->indices, args->bit_offset, args->bits, args->count, args->bytes);
  return kSoftpackOk;
}

int Unpack(const SoftpackUnpackArgs* args) {
  UnpackIndices(args->bytes, args->bit_offset, args->bits, args->count, args->indices);
  return kSoftpackOk;
}

// A new object that copies what `spec` points to.
template <class Object, class Spec>
int CreateOnSelected(const Spec* spec, Object** object) {
  *object = nullptr;
  const Isa* const isa = SelectedIsa();
  if (isa == nullptr) return kSoftpackUnsupportedIsa;
  Object* const created = new (std::nothrow) Object;
  if (created == nullptr) return kSoftpackOutOfMemory;
  const int status = created->Create(*isa, *spec);
  if (status == kSoftpackOk)
    *object = created;
  else
    delete created;
  return status;
}

int EncodeLabels(const SoftpackEncoder* encoder, const SoftpackEncodeArgs* args) {
  return encoder->Encode(*args);
}

uint64_t EncoderBytes(const SoftpackEncoder* encoder) { return encoder->bytes(); }

void DestroyEncoder(SoftpackEncoder* encoder) { delete encoder; }

int DecoderInfo(const SoftpackDecoder* decoder, SoftpackDecoderInfo* info) {
  *info = decoder->Info();
  return kSoftpackOk;
}

int Decode(const SoftpackDecoder* decoder, const SoftpackDecodeArgs* args) {
  return decoder->Decode(*args);
}

int DecodeKl(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args) {
  return decoder->DecodeKl(*args);
}

void DestroyDecoder(SoftpackDecoder* decoder) { delete decoder; }

constexpr SoftpackBackend kBackend = {
    SOFTPACK_ABI_VERSION,
    sizeof(SoftpackBackend),
    "cpu",
    Info,
    OnSelected<SoftpackProjectArgs, Project>,
    NearestOnSelected,
    Pack,
    Unpack,
    CreateOnSelected<SoftpackEncoder, SoftpackEncoderSpec>,
    EncodeLabels,
    DestroyEncoder,
    CreateOnSelected<SoftpackDecoder, SoftpackDecoderSpec>,
    DecoderInfo,
    Decode,
    DecodeKl,
    DestroyDecoder,
    OnSelected<SoftpackAugmentArgs, Augment>,
    EncoderBytes,
};

}  // namespace
}  // namespace softpack

extern "C" const SoftpackBackend* SoftpackCpuBackend(void) { return &softpack::kBackend; }

extern "C" uint64_t SoftpackCpuMemory(void) { return softpack::BufferBytes(); }
