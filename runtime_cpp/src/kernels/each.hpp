// A loop that the compiler's front end unrolls, so that arrays indexed by it stay in registers.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace crosstune::kernels {

template <typename F, std::size_t... I>
__attribute__((always_inline)) inline void each_of(F&& f, std::index_sequence<I...>) {
  (f(std::integral_constant<std::size_t, I>{}), ...);
}

// Calls f(0) to f(N - 1), with constants.
template <std::size_t N, typename F>
__attribute__((always_inline)) inline void each(F&& f) {
  each_of(static_cast<F&&>(f), std::make_index_sequence<N>{});
}

}  // namespace crosstune::kernels
