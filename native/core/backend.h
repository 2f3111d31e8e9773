// The table of operations that every kernel backend fills in: plain C, so that a backend may live
// in a module of its own, built by another compiler.
//
// Nothing throws or aborts behind it; every operation returns a status of core/status.h. Sizes are
// counts of elements unless the name says bytes or bits. Matrices are row-major and dense. Callers
// check lengths first; what a backend checks itself is only what would make it read or write out of
// bounds in `decode`. Operations may be called from any number of threads at once.
//
// Growing: new operations are appended to SoftpackBackend and found by its `size`; a change of
// meaning or of an argument struct raises the ABI version.
#ifndef SOFTPACK_CORE_BACKEND_H_
#define SOFTPACK_CORE_BACKEND_H_

#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SOFTPACK_ABI_VERSION 1u

typedef struct SoftpackInfo {
  // The instruction set in use, or null where SOFTPACK_ISA asks for one that is not available.
  const char* isa;
  // Names separated by spaces, slowest first.
  const char* available_isas;
  // What `threads` = 0 stands for.
  uint32_t processors;
} SoftpackInfo;

// In all arguments `threads` counts the caller; 0 means all processors.

// out[rows, columns] = op(a) op(b), or += with accumulate. Each sum is a chain of fused
// multiply-adds over ascending inner, so the bytes depend on neither instruction set nor threads.
typedef struct SoftpackProjectArgs {
  const float* a;  // [rows, inner], or [inner, rows] with transpose_a
  const float* b;  // [inner, columns], or [columns, inner] with transpose_b
  float* out;
  uint64_t rows;
  uint64_t inner;
  uint64_t columns;
  uint32_t transpose_a;
  uint32_t transpose_b;
  uint32_t accumulate;
  uint32_t threads;
} SoftpackProjectArgs;

// out[i] = the lowest j with the least ||mu_j||^2 / 2 - h_i . mu_j; 0 where no score is below
// infinity.
typedef struct SoftpackNearestArgs {
  const float* vectors;   // [count, width]
  const float* codebook;  // [levels, width]
  uint16_t* out;
  uint64_t count;
  uint64_t width;
  uint64_t levels;  // 1 to 65536
  uint32_t threads;
} SoftpackNearestArgs;

// Indices of `bits` bits (1 to 16) from bit `bit_offset` on, least significant bit first. Packing
// leaves all other bits of `bytes` as they are, and takes the low `bits` bits of each index.
typedef struct SoftpackPackArgs {
  const uint16_t* indices;
  uint8_t* bytes;
  uint64_t count;
  uint64_t bit_offset;
  uint32_t bits;
} SoftpackPackArgs;

typedef struct SoftpackUnpackArgs {
  const uint8_t* bytes;
  uint16_t* indices;
  uint64_t count;
  uint64_t bit_offset;
  uint32_t bits;
} SoftpackUnpackArgs;

// project, nearest, pack. Writes ceil(count * (latent / width) * bits / 8) bytes, zero bits at the
// end.
typedef struct SoftpackEncodeArgs {
  const float* labels;      // [count, classes]
  const float* projection;  // [classes, latent]
  const float* codebook;    // [levels, width], shared by all latent / width segments
  uint8_t* out;
  uint64_t count;
  uint64_t classes;
  uint64_t latent;
  uint64_t width;
  uint64_t levels;
  uint32_t bits;
  uint32_t threads;
} SoftpackEncodeArgs;

enum SoftpackHead {
  kSoftpackHeadIdentity = 0,
  kSoftpackHeadClamp = 1,    // max(v, parameter), divided by its sum
  kSoftpackHeadSoftmax = 2,  // softmax(v / parameter)
};

enum SoftpackMethod {
  kSoftpackMethodAuto = 0,
  kSoftpackMethodLatent = 1,
  kSoftpackMethodTable = 2,
};

// Stage s adds codeword q_s, at codebooks + s * codebook_stride + q_s * width, to the latent vector
// at s * latent_step; then v = bias + latent . basis, then the head. The arrays are copied.
typedef struct SoftpackDecoderSpec {
  const float* codebooks;
  const float* basis;  // [latent, classes]
  const float* bias;   // [classes], or null for zeros
  uint64_t classes;
  uint64_t latent;  // (stages - 1) * latent_step + width
  uint64_t stages;
  uint64_t levels;
  uint64_t width;
  uint64_t codebook_stride;
  uint64_t latent_step;
  uint32_t bits;
  uint32_t head;
  float head_parameter;
  uint32_t method;
} SoftpackDecoderSpec;

typedef struct SoftpackDecoder SoftpackDecoder;

typedef struct SoftpackDecoderInfo {
  uint32_t method;  // latent or table
  uint64_t bytes;   // memory held
} SoftpackDecoderInfo;

// Exactly one of out_float and out_half is set.
typedef struct SoftpackDecodeArgs {
  const uint8_t* codes;  // label i starts at bit i * stages * bits
  uint64_t codes_bytes;
  const uint32_t* list;  // [count] labels, or null for first, first + 1, ...
  uint64_t first;
  uint64_t count;
  float* out_float;    // [count, classes]
  uint16_t* out_half;  // [count, classes] IEEE float16, to nearest, ties to even
  uint32_t threads;
} SoftpackDecodeArgs;

typedef struct SoftpackBackend {
  uint32_t abi_version;
  uint32_t size;  // sizeof(SoftpackBackend) when the backend was built
  const char* name;
  int (*info)(SoftpackInfo* info);
  int (*project)(const SoftpackProjectArgs* args);
  int (*nearest)(const SoftpackNearestArgs* args);
  int (*pack)(const SoftpackPackArgs* args);
  int (*unpack)(const SoftpackUnpackArgs* args);
  int (*encode)(const SoftpackEncodeArgs* args);
  int (*decoder_create)(const SoftpackDecoderSpec* spec, SoftpackDecoder** decoder);
  int (*decoder_info)(const SoftpackDecoder* decoder, SoftpackDecoderInfo* info);
  int (*decode)(const SoftpackDecoder* decoder, const SoftpackDecodeArgs* args);
  void (*decoder_destroy)(SoftpackDecoder* decoder);
} SoftpackBackend;

#ifdef __cplusplus
}
#endif

#endif  // SOFTPACK_CORE_BACKEND_H_
