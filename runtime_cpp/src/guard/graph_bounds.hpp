// What a run of a graph takes, from the shapes of its values. The same as crosstune_export/bundle/graph_bounds.py.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "guard/graph_shapes.hpp"

namespace crosstune::core {

// Refuses a graph whose shapes cannot be told, or that takes more memory or time than one with as many constants can need.
// `inputs` are int64 (B, T), with T up to `longest`. Throws WireError.
void require_bounded(const std::vector<Node>& nodes, const std::map<std::string, Value>& constants,
                     const std::vector<std::string>& inputs, std::size_t longest);

}  // namespace crosstune::core
