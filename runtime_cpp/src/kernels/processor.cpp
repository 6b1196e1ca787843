// Which kernels this processor runs.
#include <cstring>

#include "kernels/kernels.hpp"

namespace crosstune::kernels {

#ifdef CROSSTUNE_X86
const Kernels& avx512_table();
const Kernels& avx2_evex_table();
const Kernels& avxvnni_table();
#endif

namespace {

bool has_avx512_vnni() {
#ifdef CROSSTUNE_X86
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

bool has_avx_vnni() {
#ifdef CROSSTUNE_X86
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return false;
  unsigned eax = 7, ebx = 0, ecx = 1, edx = 0;  // compilers before GCC 13 do not know the name of this bit
  asm("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return (eax >> 4 & 1) != 0;
#else
  return false;
#endif
}

}  // namespace

const Kernels* avx512_kernels() {
#ifdef CROSSTUNE_X86
  if (has_avx512_vnni()) return &avx512_table();
#endif
  return nullptr;
}

const Kernels* avxvnni_kernels() {
#ifdef CROSSTUNE_X86
  if (has_avx_vnni()) return &avxvnni_table();
#endif
  return nullptr;
}

const Kernels* best_kernels() {
  const Kernels* best = avx512_kernels();
  return best != nullptr ? best : avxvnni_kernels();
}

const Kernels* kernels_named(const char* name) {
  if (std::strcmp(name, "plain") == 0) return &plain_kernels();
  if (std::strcmp(name, "avx512") == 0) return avx512_kernels();
  if (std::strcmp(name, "avxvnni") == 0) return avxvnni_kernels();
#ifdef CROSSTUNE_X86
  if (std::strcmp(name, "avx512-256") == 0 && has_avx512_vnni()) return &avx2_evex_table();
#endif
  return nullptr;
}

}  // namespace crosstune::kernels
