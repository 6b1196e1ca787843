// Compiled twice: for AVX-VNNI, and with CROSSTUNE_EVEX for the 256-bit instructions of AVX512-VNNI.
#include "kernels/kernels_of.hpp"
#include "kernels/lanes_avx2.hpp"

namespace crosstune::kernels {

#ifdef CROSSTUNE_EVEX
const Kernels& avx2_evex_table() { return KernelsOf<Avx2EvexLanes>::table("avx512-256"); }
#else
const Kernels& avxvnni_table() { return KernelsOf<Avx2Lanes>::table("avxvnni"); }
#endif

}  // namespace crosstune::kernels
