// The interface of a backend in a separate module: one exported symbol, SoftpackOpenModule, that
// returns the table below. The table of operations is the CPU's; a device adds memory, streams and
// reasons.
//
// CUDA's module has run in an emulation alone, on no device yet (docs/cuda.md).
//
// Any array of an operation may lie in device memory (the device's own or CUDA's managed memory):
// it is then used where it is. Arrays in host memory are copied through pinned buffers. Those of
// pack, unpack and augment, and of the specs of encoders and decoders, lie in host memory.
#ifndef SOFTPACK_CORE_DEVICE_MODULE_H_
#define SOFTPACK_CORE_DEVICE_MODULE_H_

#include <stdint.h>

#include "core/backend.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SOFTPACK_MODULE_VERSION 7u
#define SOFTPACK_MODULE_SYMBOL "SoftpackOpenModule"

typedef struct SoftpackDeviceInfo {
  char name[256];
  uint32_t capability_major;
  uint32_t capability_minor;
  uint32_t multiprocessors;
  uint32_t driver_version;  // 1000 * major + 10 * minor, as CUDA counts
  uint32_t runtime_version;
  uint64_t memory_bytes;
  char refused[512];  // why an operation was last refused, for people, or empty
} SoftpackDeviceInfo;

// Labels of codec `transform` (docs/codecs.md): softmax((bias + latent . basis) / tau), where a
// latent is what its indices stand for (core/quantiser.h) plus, with bases, weight * bases[a] +
// (1 - weight) * bases[b]; a pair of equal rows counts with weight 1. The arrays lie in host memory
// and are copied.
typedef struct SoftpackTransformSpec {
  const uint32_t* entries;     // [tables, 2^12], of core/rans.h
  const uint16_t* row_tables;  // [components], or with a trellis [components, 2]
  const int8_t* shifts;        // [components], in 128ths of a unit
  const float* basis;          // [components, classes]
  const float* bias;           // [classes]
  const float* bases;          // [base_rows, components], or null
  uint64_t tables;
  uint64_t base_rows;
  uint64_t components;
  uint64_t classes;
  uint64_t labels_per_block;  // a power of two, up to 2^16
  double unit;
  uint32_t trellis;  // states: 1, 4 or 8
} SoftpackTransformSpec;

typedef struct SoftpackTransform SoftpackTransform;

// A row of blocks, all numbers little endian: u32 blocks, so many + 1 u32 offsets of the blocks and
// of their end, counted from the end of the offsets, then the blocks: u16 labels, then a stream of
// core/rans.h with int16 [components, labels].
typedef struct SoftpackTransformRow {
  const uint8_t* row;
  uint64_t row_bytes;
  uint64_t blocks;  // in `row` and in `unpacked`
  // A record per block: u32 labels, 12 zeros, int16 [components, labels_per_block], and zeros up to
  // a multiple of 16 bytes. Aligned to 16 bytes.
  void* unpacked;
} SoftpackTransformRow;

enum SoftpackTail {
  // The entries are the distribution, up to their sum; at a temperature their powers are.
  kSoftpackTailNone = 0,
  // What the entries leave lies where the student has it: one outcome more, "any other token".
  kSoftpackTailGhost = 1,
  // What the entries leave is spread over the tokens that are not listed: evenly, or like `prior`.
  // At temperature 1 alone.
  kSoftpackTailUniform = 2,
  kSoftpackTailPrior = 3,
};

// Of the student's q from the teacher's p. All but the first need a probability of every token:
// tails uniform and prior, or hidden states; `loss` of their arguments must be kSoftpackLossKl.
enum SoftpackDivergence {
  kSoftpackDivergenceForward = 0,  // KL(p || q)
  // KL(q || p); entries that leave less than 2^-20 leave that much, for it is infinite otherwise.
  kSoftpackDivergenceReverse = 1,
  // beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q.
  kSoftpackDivergenceJsd = 2,
};

// Labels of positions of a text (docs/tokens.md). Either some entries of each position, or, where
// `hidden` is not null, hidden states, whose distribution is softmax((hidden head^T + corrections)
// / tau).
typedef struct SoftpackTokenLabels {
  const int32_t* ids;          // [positions, width], each id once a position
  const float* probabilities;  // [positions, width], 0 for entries without use
  // Beside hidden states [positions, corrected]: what is added to the logits at `corrected_ids`,
  // below the vocabulary; 0 for entries without use.
  const int32_t* corrected_ids;
  const float* corrections;
  uint64_t corrected;     // entries a position, up to 4096; 0 for none
  uint32_t tail;          // SoftpackTail
  const float* prior;     // [vocabulary], finite and above 0, for kSoftpackTailPrior
  const float* hidden;    // [positions, width]
  const float* head;      // [vocabulary, width]
  uint64_t width;         // entries (up to 4096), or elements of a hidden state
  const uint8_t* counts;  // [positions]: 0 where loss and gradient are 0, or null
  uint64_t vocabulary;
  uint64_t columns;     // of logits; those from `vocabulary` on are left out and get gradient 0
  uint32_t divergence;  // SoftpackDivergence
  float beta;           // of kSoftpackDivergenceJsd, above 0 and below 1
} SoftpackTokenLabels;

typedef struct SoftpackDeviceModule {
  uint32_t module_version;
  uint32_t size;  // sizeof(SoftpackDeviceModule) when the module was built
  const SoftpackBackend* backend;

  // Whether there is a device that operations can run on: done, kSoftpackNoDevice or
  // kSoftpackDeviceLost. Creates no context.
  int (*probe)(SoftpackDeviceInfo* info);
  // The same after a context exists and the kernels were found to run in it; every operation begins
  // with it.
  int (*start)(void);
  // Why the last call on this thread failed, for people; never null.
  const char* (*last_error)(void);

  int (*memory_create)(uint64_t bytes, void** memory);
  int (*memory_write)(void* memory, const void* from, uint64_t bytes);
  int (*memory_read)(const void* memory, void* to, uint64_t bytes);
  void (*memory_destroy)(void* memory);

  // From now on this thread's operations are put on `stream` (a cudaStream_t of the device; null is
  // CUDA's default stream), and those whose arrays all lie in device memory return before they are
  // done; wrong codes are then reported by `finish` or `end_stream`. Ends the use of a stream
  // before it. The thread's device stays what it is.
  int (*use_stream)(void* stream);
  // Waits for that stream and ends its use; the status of its work.
  int (*end_stream)(void);
  // Waits for this thread's stream and returns the status of its work.
  int (*finish)(void);

  // A stream for use_stream, for callers without their own CUDA runtime.
  int (*stream_create)(void** stream);
  void (*stream_destroy)(void* stream);
  // On this thread's stream: copies within the device; starts a stopwatch, or stops it and gives
  // the device's time since.
  int (*memory_copy)(void* to, const void* from, uint64_t bytes);
  int (*stopwatch)(int stop, float* milliseconds);

  // Bytes of device memory that a call works in, if all its arrays lie in device memory.
  int (*decode_workspace_bytes)(const SoftpackDecoder* decoder, const SoftpackDecodeArgs* args,
                                uint64_t* bytes);
  int (*decode_kl_workspace_bytes)(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args,
                                   uint64_t* bytes);
  // From now on operations on this thread's stream work in `memory` alone (aligned to 256 bytes):
  // they allocate and free nothing, wait for nothing, and can be captured into a CUDA graph, which
  // holds the memory, the decoder and the call's arrays as long as it is used. Null ends that.
  int (*use_workspace)(void* memory, uint64_t bytes);

  // Chooses the device of the process, before anything else asks for it; SOFTPACK_CUDA_DEVICE goes
  // first. Done if that is the device, else kSoftpackInvalidArgument or kSoftpackNoDevice.
  int (*use_device)(int ordinal);
  // decode_kl with logits and gradient of another type (SoftpackDtype), gradients rounded to
  // nearest; works in as many bytes.
  int (*decode_kl_as)(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args,
                      uint32_t type);

  int (*transform_create)(const SoftpackTransformSpec* spec, SoftpackTransform** transform);
  void (*transform_destroy)(SoftpackTransform* transform);
  uint64_t (*transform_record_bytes)(const SoftpackTransform* transform);
  // Entropy-decodes the blocks of a row, whose record then serves any number of calls below. Of a
  // block that no encoder writes the record holds no labels, and the status is
  // kSoftpackInvalidCodes.
  int (*transform_unpack)(const SoftpackTransform* transform, const SoftpackTransformRow* row);
  // As `decode` and `decode_kl_as`, of records in place of codes; the label at position p is label
  // p % labels_per_block of record p / labels_per_block. `tau`: that of the labels. Latents that
  // float32 might not hold the values of give kSoftpackNotFinite.
  int (*transform_decode)(const SoftpackTransform* transform, float tau,
                          const SoftpackDecodeArgs* args);
  int (*transform_decode_kl)(const SoftpackTransform* transform, float tau,
                             const SoftpackDecodeKlArgs* args, uint32_t type);
  // Bytes of a workspace for either, and for transform_unpack.
  int (*transform_workspace_bytes)(const SoftpackTransform* transform, uint64_t count,
                                   uint64_t* bytes);

  // Divergence of student and teacher, and gradient, of tokens: as `decode_kl_as`, with
  // labels.count positions and nothing else of args->labels. Both have temperature args->tau.
  int (*token_kl)(const SoftpackTokenLabels* labels, const SoftpackDecodeKlArgs* args,
                  uint32_t type);
  int (*token_kl_workspace_bytes)(const SoftpackTokenLabels* labels,
                                  const SoftpackDecodeKlArgs* args, uint64_t* bytes);
} SoftpackDeviceModule;

typedef const SoftpackDeviceModule* (*SoftpackOpenModuleFunction)(void);

#ifdef __cplusplus
}
#endif

#endif  // SOFTPACK_CORE_DEVICE_MODULE_H_
