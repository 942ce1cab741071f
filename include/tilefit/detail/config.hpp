// Platform switches, and the only TILEFIT_ macros that code may use.
// Knows: which compiler is reading us.
// Must not know: anything about tiles, chips or formats.
#pragma once

#if defined(_MSVC_LANG)
#define TILEFIT_CPLUSPLUS _MSVC_LANG
#else
#define TILEFIT_CPLUSPLUS __cplusplus
#endif

#if TILEFIT_CPLUSPLUS < 202002L
#error "tilefit needs C++20: pass -std=c++20 (nvcc and hipcc too) or link the CMake target tilefit::tilefit"
#endif

/// Marks a function that device code may call as well as host code.
#if defined(__CUDACC__) || defined(__HIP__)
#define TILEFIT_HD __attribute__((host)) __attribute__((device))
#else
#define TILEFIT_HD
#endif

/// For the few functions whose callers need one member of a large result: inlined, the rest costs nothing.
#if defined(__GNUC__) || defined(__clang__)
#define TILEFIT_ALWAYS_INLINE __attribute__((always_inline)) inline
#else
#define TILEFIT_ALWAYS_INLINE inline
#endif

/// Set where host code can carry AVX2 and AVX-512 functions beside portable ones (GCC and Clang on x86-64).
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__CUDA_ARCH__) && !defined(__HIP_DEVICE_COMPILE__)
#define TILEFIT_HOST_X86 1
#else
#define TILEFIT_HOST_X86 0
#endif

/// Code built without exceptions cannot catch the one that std::thread throws when the system has no thread left.
#if defined(__cpp_exceptions)
#define TILEFIT_TRY try
#define TILEFIT_CATCH catch (...)
#else
#define TILEFIT_TRY if constexpr (true)
#define TILEFIT_CATCH else
#endif

/// nvcc 13.0 does not get through fmt 9's checks of format strings at compile time: they are left to run time. Counts
/// where this header comes before fmt's.
#if defined(__CUDACC__) && !defined(FMT_CONSTEVAL)
#define FMT_CONSTEVAL
#endif

/// For compute-sanitizer's racecheck, which does not see that one lane's arrival at an mbarrier stands for its warp's:
/// with -D TILEFIT_EVERY_LANE_ARRIVES all lanes arrive.
#if defined(TILEFIT_EVERY_LANE_ARRIVES)
#define TILEFIT_ARRIVING_LANES 32
#else
#define TILEFIT_ARRIVING_LANES 1
#endif

/// Lanes of a warp for kernels that a host compiler makes ready for the CPU executor (device/simt): 32 as NVIDIA has
/// them, or with -D TILEFIT_SIMT_LANES=64 those of AMD's waves. The same in all files of a program.
#if !defined(TILEFIT_SIMT_LANES)
#define TILEFIT_SIMT_LANES 32
#endif
