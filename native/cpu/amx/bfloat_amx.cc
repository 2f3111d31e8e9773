#include "cpu/bfloat_unit.h"

#ifdef SOFTPACK_X86_KERNELS

#include <immintrin.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "cpu/target.h"

namespace softpack {

bool AllowAmxTiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  static const bool allowed = [] {
    constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return allowed;
#else
  return false;
#endif
}

}  // namespace softpack

SOFTPACK_TARGET_BEGIN("avx512f,amx-tile,amx-bf16")
// Inside the region, so that it is compiled for what it inlines.
#include "cpu/amx/amx_product.h"

namespace softpack {
namespace {

// The memory operand of ldtilecfg: all eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Tiles 0 to 3 are C, row by row; 4 and 5 are A, 6 and 7 B. The configuration belongs to the
// thread.
class ProcessorTiles {
 public:
  ProcessorTiles() {
    // Static: some compilers take the instruction to read eight bytes of it, and drop other stores.
    static constexpr TileShapes kShapes;
    _tile_loadconfig(&kShapes);
  }
  ~ProcessorTiles() { _tile_release(); }
  ProcessorTiles(const ProcessorTiles&) = delete;
  ProcessorTiles& operator=(const ProcessorTiles&) = delete;

  SOFTPACK_MEMBER_INLINE void LoadC(const float* c00, const float* c01, const float* c10,
                                    const float* c11, uint64_t stride) {
    _tile_loadd(0, c00, stride);
    _tile_loadd(1, c01, stride);
    _tile_loadd(2, c10, stride);
    _tile_loadd(3, c11, stride);
  }
  SOFTPACK_MEMBER_INLINE void StoreC(float* c00, float* c01, float* c10, float* c11,
                                     uint64_t stride) {
    _tile_stored(0, c00, stride);
    _tile_stored(1, c01, stride);
    _tile_stored(2, c10, stride);
    _tile_stored(3, c11, stride);
  }
  SOFTPACK_MEMBER_INLINE void LoadA(const uint16_t* a0, const uint16_t* a1, uint64_t stride) {
    _tile_loadd(4, a0, stride);
    _tile_loadd(5, a1, stride);
  }
  SOFTPACK_MEMBER_INLINE void LoadB(const uint16_t* b0, const uint16_t* b1, uint64_t stride) {
    _tile_loadd(6, b0, stride);
    _tile_loadd(7, b1, stride);
  }
  SOFTPACK_MEMBER_INLINE void Fetch(const uint16_t* line) {
    _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
  }
  SOFTPACK_MEMBER_INLINE void Multiply() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
};

void Multiply(const uint16_t* a, uint64_t a_stride, const uint16_t* panels, uint64_t rows,
              uint64_t inner, uint64_t panel_count, const float* start, float* out,
              uint64_t out_stride) {
  ProcessorTiles tiles;
  AmxProduct(tiles, a, a_stride, panels, rows, inner, panel_count, start, out, out_stride);
}

}  // namespace

extern const BfloatUnit kAmxBfloatUnit = {Multiply, kAmxColumns, kAmxInner, kAmxRows, 256, 8};

}  // namespace softpack
SOFTPACK_TARGET_END

#endif  // SOFTPACK_X86_KERNELS
