// The table of operations that every kernel backend fills in: plain C, so that a backend may live
// in a separate module, built by another compiler.
//
// Nothing throws or aborts behind it; every operation returns a status of core/status.h. Sizes are
// counts of elements unless the name says bytes or bits. Matrices are row-major and dense. Callers
// check lengths first; what a backend checks itself is only what the contents of codes, lists and
// base pairs could make it read out of bounds. Operations may be called from any number of threads
// at once.
//
// Growing: new operations are appended to SoftpackBackend and found by its `size`; a change of
// meaning or of an argument struct raises the ABI version.
#ifndef SOFTPACK_CORE_BACKEND_H_
#define SOFTPACK_CORE_BACKEND_H_

#include <stdint.h>

#include "core/dtypes.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SOFTPACK_ABI_VERSION 3u

// Largest height or width of an image or a view, which MAX_SIDE of src/core/limits.ts repeats.
#define SOFTPACK_MAX_SIDE 65535u

typedef struct SoftpackInfo {
  // The instruction set in use; null if SOFTPACK_ISA requests one that is not available.
  const char* isa;
  // Names separated by spaces, slowest first.
  const char* available_isas;
  // The count that `threads` = 0 means.
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

// Labels to packed codes: project, nearest, pack. The codes are those of `project` and `nearest` to
// the bit, however they are found. The arrays are copied.
typedef struct SoftpackEncoderSpec {
  const float* projection;  // [classes, latent]
  const float* codebook;    // [levels, width], shared by all latent / width segments
  uint64_t classes;
  uint64_t latent;
  uint64_t width;
  uint64_t levels;
  uint32_t bits;
} SoftpackEncoderSpec;

typedef struct SoftpackEncoder SoftpackEncoder;

// Writes ceil(count * (latent / width) * bits / 8) bytes, zero bits at the end.
typedef struct SoftpackEncodeArgs {
  const float* labels;  // [count, classes]
  uint8_t* out;
  uint64_t count;
  uint32_t threads;
} SoftpackEncodeArgs;

enum SoftpackHead {
  kSoftpackHeadIdentity = 0,
  kSoftpackHeadClamp = 1,    // max(v, parameter), divided by its sum
  kSoftpackHeadSoftmax = 2,  // softmax(v / parameter)
};

// How a decoder works; cpu/decoder.h has the costs.
enum SoftpackMethod {
  kSoftpackMethodAuto = 0,    // chosen by `precision`
  kSoftpackMethodLatent = 1,  // codewords added up, then a float32 product with the basis
  kSoftpackMethodTable = 2,   // float32 rows of `classes` added up
  kSoftpackMethodFixed = 3,   // 16-bit fixed-point rows added up
  kSoftpackMethodBfloat = 4,  // as latent, both factors rounded to bfloat16
  kSoftpackMethodSplit = 5,   // as latent, each factor the sum of two bfloat16: three products
};

// The choices of kSoftpackMethodAuto. Exact and fast depend on the spec alone and give the same
// bytes on every machine; fastest depends on the units of the processor.
enum SoftpackPrecision {
  kSoftpackPrecisionExact = 0,    // latent or table
  kSoftpackPrecisionFast = 1,     // fixed; latent where tables would exceed memory_cap
  kSoftpackPrecisionFastest = 2,  // any but split
};

// Stage s adds codeword q_s, at codebooks + s * codebook_stride + q_s * width, to the latent vector
// at s * latent_step. A label may also add a prediction, weight * bases[a] + (1 - weight) *
// bases[b], to its latent vector. Then v = bias + latent . basis, then the head. The arrays are
// copied.
typedef struct SoftpackDecoderSpec {
  const float* codebooks;
  const float* basis;  // [latent, classes]
  const float* bias;   // [classes], or null for zeros
  const float* bases;  // [base_rows, latent], or null: no prediction
  uint64_t base_rows;
  uint64_t classes;
  uint64_t latent;  // (stages - 1) * latent_step + width
  uint64_t stages;
  uint64_t levels;
  uint64_t width;
  uint64_t codebook_stride;
  uint64_t latent_step;
  uint64_t memory_cap;  // bytes that chosen tables may take; 0 for the default
  uint32_t bits;
  uint32_t head;
  float head_parameter;
  uint32_t method;
  uint32_t precision;
} SoftpackDecoderSpec;

typedef struct SoftpackDecoder SoftpackDecoder;

typedef struct SoftpackDecoderInfo {
  uint32_t method;  // never auto
  uint64_t bytes;   // memory held, working memory that is kept between calls included
} SoftpackDecoderInfo;

// Which labels an operation decodes.
typedef struct SoftpackLabels {
  const uint8_t* codes;  // label i starts at bit i * stages * bits
  uint64_t codes_bytes;
  const uint32_t* list;  // [count] labels, or null for first, first + 1, ...
  uint64_t first;
  uint64_t count;
  // For a decoder with bases: the two rows of each label's prediction and the first one's weight.
  const uint32_t* base_pairs;  // [count, 2]
  const float* base_weights;   // [count]
} SoftpackLabels;

typedef struct SoftpackDecodeArgs {
  SoftpackLabels labels;
  void* out;  // [count, classes] of out_type
  uint32_t out_type;  // SoftpackDtype
  uint32_t threads;
} SoftpackDecodeArgs;

enum SoftpackLoss {
  kSoftpackLossKl = 0,            // KL(y || softmax(logits / tau))
  kSoftpackLossCrossEntropy = 1,  // -sum_j y_j log softmax(logits / tau)_j: needs no entropy of y
};

// Labels y are decoded, used and forgotten. The head must be clamp or softmax.
typedef struct SoftpackDecodeKlArgs {
  SoftpackLabels labels;
  const float* logits;  // [count, classes]
  float* losses;        // [count], or null
  float* gradient;      // [count, classes], scale * d loss_i / d logits_i, or null; may be `logits`
  float tau;
  float scale;
  uint32_t loss;
  uint32_t threads;
} SoftpackDecodeKlArgs;

typedef struct SoftpackImage {
  const uint8_t* pixels;  // [height, width, 3]
  uint32_t height;
  uint32_t width;
} SoftpackImage;

// Fields of a view: an image (index, crop as top, left, height, width in its pixels, 1 if
// mirrored), the same of the one mixed in (index -1 if none is), and the box that CutMix
// replaces, in pixels of the output (height 0 for mixup).
enum SoftpackViewField {
  kSoftpackViewImage = 0,
  kSoftpackViewCrop = kSoftpackViewImage + 1,
  kSoftpackViewFlip = kSoftpackViewCrop + 4,
  kSoftpackViewPartner = kSoftpackViewFlip + 1,
  kSoftpackViewBox = 2 * kSoftpackViewPartner,
  kSoftpackViewFields = kSoftpackViewBox + 4,
};

// The source pixels that one pixel of a view is made of: the two that it lies between per axis, or
// all that it covers if the crop shrinks (a triangle twice as wide as the output pixel).
typedef enum SoftpackResample {
  kSoftpackResampleBilinear = 0,
  kSoftpackResampleAntialias = 1,
} SoftpackResample;

// The rounding of resized pixels: to 8.16 fixed point or float32, or to 8 bits after each axis,
// with weights of 22 bits, as Pillow does.
typedef enum SoftpackRound {
  kSoftpackRoundNone = 0,
  kSoftpackRoundU8 = 1,
} SoftpackRound;

// Crop, resize, mirror, CutMix or mixup, normalise. Integers, then float32 products and sums in
// one order, so the bytes depend on neither instruction set nor threads. Sides are at most
// SOFTPACK_MAX_SIDE.
typedef struct SoftpackAugmentArgs {
  const SoftpackImage* images;
  uint64_t image_count;
  const int32_t* views;  // [count, kSoftpackViewFields]
  const float* weights;  // [count], share of the own image in a mixup
  float* out;            // [count, height, width, 3]
  uint64_t count;
  uint32_t height;
  uint32_t width;
  float scale[3];  // a value in 8.16 fixed point, times scale, plus shift
  float shift[3];
  uint32_t threads;
  uint32_t resample;
  uint32_t round;
} SoftpackAugmentArgs;

typedef struct SoftpackBackend {
  uint32_t abi_version;
  uint32_t size;  // sizeof(SoftpackBackend) when the backend was built
  const char* name;
  int (*info)(SoftpackInfo* info);
  int (*project)(const SoftpackProjectArgs* args);
  int (*nearest)(const SoftpackNearestArgs* args);
  int (*pack)(const SoftpackPackArgs* args);
  int (*unpack)(const SoftpackUnpackArgs* args);
  int (*encoder_create)(const SoftpackEncoderSpec* spec, SoftpackEncoder** encoder);
  int (*encode)(const SoftpackEncoder* encoder, const SoftpackEncodeArgs* args);
  void (*encoder_destroy)(SoftpackEncoder* encoder);
  int (*decoder_create)(const SoftpackDecoderSpec* spec, SoftpackDecoder** decoder);
  int (*decoder_info)(const SoftpackDecoder* decoder, SoftpackDecoderInfo* info);
  int (*decode)(const SoftpackDecoder* decoder, const SoftpackDecodeArgs* args);
  int (*decode_kl)(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args);
  void (*decoder_destroy)(SoftpackDecoder* decoder);
  int (*augment)(const SoftpackAugmentArgs* args);
  // Memory held, working memory that is kept between calls included.
  uint64_t (*encoder_bytes)(const SoftpackEncoder* encoder);
} SoftpackBackend;

#ifdef __cplusplus
}
#endif

#endif  // SOFTPACK_CORE_BACKEND_H_
