// Measures how many products of bytes a second this processor sums with VNNI in 512 bits, on one thread: the bound for int8 encoders.
//
//   crosstune-peak
#include <chrono>
#include <cstdio>

#include "kernels/each.hpp"
#include "kernels/kernels.hpp"

#ifdef __AVX512VNNI__
#include <immintrin.h>

namespace {

double products_per_second() {
  constexpr int kSums = 24, kRounds = 2000000;  // enough independent sums to hide the latency of the instruction
  __m512i sums[kSums], a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(1);
  crosstune::kernels::each<kSums>([&](auto j) { sums[j] = _mm512_setzero_si512(); });
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRounds; ++i)
      crosstune::kernels::each<kSums>([&](auto j) { asm volatile("vpdpbusd %2, %1, %0" : "+v"(sums[j]) : "v"(a), "v"(b)); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double rate = 64.0 * kSums * kRounds / seconds;
    if (rate > best) best = rate;
  }
  return best;
}

}  // namespace

int main() {
  if (crosstune::kernels::avx512_kernels() == nullptr) {
    std::fprintf(stderr, "crosstune-peak: this processor has no AVX512-VNNI\n");
    return 1;
  }
  std::printf("%.4g\n", products_per_second());
  return 0;
}
#else
int main() { return 1; }
#endif
