// Compiling a part of a file for an instruction set beyond the build's own, with no flag for the
// whole file.
#ifndef SOFTPACK_CPU_TARGET_H_
#define SOFTPACK_CPU_TARGET_H_

#ifdef _MSC_VER
#define SOFTPACK_INLINE static __forceinline
#define SOFTPACK_MEMBER_INLINE __forceinline
#else
#define SOFTPACK_INLINE static inline __attribute__((always_inline))
#define SOFTPACK_MEMBER_INLINE inline __attribute__((always_inline))
#endif

#define SOFTPACK_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define SOFTPACK_UNROLL SOFTPACK_PRAGMA(clang loop unroll(full))
#define SOFTPACK_TARGET_BEGIN(isa) \
  SOFTPACK_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define SOFTPACK_TARGET_END SOFTPACK_PRAGMA(clang attribute pop)
#else
#define SOFTPACK_UNROLL SOFTPACK_PRAGMA(GCC unroll 16)
#define SOFTPACK_TARGET_BEGIN(isa) \
  SOFTPACK_PRAGMA(GCC push_options) SOFTPACK_PRAGMA(GCC target(isa))
#define SOFTPACK_TARGET_END SOFTPACK_PRAGMA(GCC pop_options)
#endif

#endif  // SOFTPACK_CPU_TARGET_H_
