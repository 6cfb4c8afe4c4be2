// TENSORLIFT_SIMD, before a loop's function: compiled for AVX2 as well, chosen when the module is
// loaded. The loop need not change. Other processors' vector units (Arm's) are always there.
#pragma once

// Needs ifunc resolvers (ELF, glibc), which run before a sanitizer's runtime is ready.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && (!defined(__clang__) || __clang_major__ >= 14)
#define TENSORLIFT_SIMD __attribute__((target_clones("avx2", "default")))
#else
#define TENSORLIFT_SIMD
#endif
