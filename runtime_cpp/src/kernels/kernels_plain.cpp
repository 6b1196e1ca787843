#include "kernels/kernels_of.hpp"
#include "kernels/lanes_plain.hpp"

namespace crosstune::kernels {

const Kernels& plain_kernels() { return KernelsOf<PlainLanes>::table("plain"); }

}  // namespace crosstune::kernels
