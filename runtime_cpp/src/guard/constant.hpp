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

// Appends the numbers of a repeated field, packed or not. Stops behind `most`, because a hostile message may hold millions.
// Throws WireError.
void append_numbers(const WireField& field, std::size_t most, std::vector<std::uint64_t>* numbers);

}  // namespace crosstune::core
