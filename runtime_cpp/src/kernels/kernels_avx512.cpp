// Compiled for AVX512; nothing here may run before the processor was asked (processor.cpp).
#include "kernels/kernels_of.hpp"
#include "kernels/lanes_avx512.hpp"

namespace crosstune::kernels {

const Kernels& avx512_table() { return KernelsOf<Avx512Lanes>::table("avx512"); }

}  // namespace crosstune::kernels
