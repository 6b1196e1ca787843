// The constants of a graph: weights, and tensors in attributes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "guard/wire.hpp"

namespace crosstune::core {

struct Constant {
  std::string name;
  std::vector<std::uint64_t> shape;
};

// Parses a constant; its bytes must match its shape and type, and its numbers must be finite. Throws WireError.
Constant parse_constant(std::string_view bytes);

// Appends the numbers of a repeated field, packed or not. Stops at nine, because a hostile message may hold millions and
// no valid shape has more than eight. Throws WireError.
void append_numbers(const WireField& field, std::vector<std::uint64_t>* numbers);

// Whether all float32 values in `bytes` are finite; a single value may be infinite.
bool are_finite_floats(std::string_view bytes);

}  // namespace crosstune::core
