// How loops are compiled: for AVX2 as well, and not behind a sanitizer's back.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define TENSORLIFT_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TENSORLIFT_ADDRESS_SANITIZER 1
#endif
#endif

// TENSORLIFT_SIMD, before a loop's function: compiled for AVX2 as well, chosen when the module is
// loaded. The loop need not change. Other processors' vector units (Arm's) are always there.
//
// GCC alone: clang has no multiversioned templates. Needs ifunc resolvers (ELF, glibc), which run
// before a sanitizer's runtime is ready.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(TENSORLIFT_ADDRESS_SANITIZER) && !defined(__SANITIZE_THREAD__)
#define TENSORLIFT_SIMD __attribute__((target_clones("avx2", "default")))
#else
#define TENSORLIFT_SIMD
#endif
