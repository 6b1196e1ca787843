// The constants of a graph.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "guard/graph_shapes.hpp"
#include "guard/wire.hpp"

namespace crosstune::core {

struct Constant {
  std::string name;
  Value value;
};

// Parses a constant; its bytes must match its shape and type, and its numbers must be finite. Throws WireError.
Constant parse_constant(std::string_view bytes);

// Appends the numbers of a repeated field, packed or not. Stops at nine, because a hostile message may hold millions and
// no valid shape has more than eight. Throws WireError.
void append_numbers(const WireField& field, std::vector<std::uint64_t>* numbers);

}  // namespace crosstune::core
