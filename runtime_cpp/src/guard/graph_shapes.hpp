// The shape of every value of a graph, and with them what a run takes, before onnxruntime sees the graph. The same as
// crosstune_export/bundle/graph_shapes.py.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "guard/graph_rules.hpp"

namespace crosstune::core {

inline constexpr std::size_t kMaxRank = 8;  // also the most numbers of a constant that is read as a shape, as axes or as positions
inline constexpr std::int64_t kMostElements = std::int64_t{1} << 40;  // of any value or dimension, far beyond every limit

using Shape = std::vector<std::int64_t>;

// What is known about a value before a run.
struct Value {
  char type;
  Shape shape;
  // Its elements, if it is integer, small, and does not depend on the ids of a text.
  std::optional<std::vector<std::int64_t>> numbers;
};

// A node that fits the rules of its operator. A name is "" for an input or output that is left out.
struct Node {
  std::string op;
  const OperatorRules* rules = nullptr;
  std::vector<std::string> inputs, outputs;
  std::string types;  // of the outputs
  std::map<std::string, std::vector<double>> attributes;
};

// Refuses a graph whose shapes cannot be told, or that takes more memory or time than one with as many constants can need.
// `inputs` are int64 (B, T), with T up to `longest`. Throws WireError.
void require_bounded(const std::vector<Node>& nodes, const std::map<std::string, Value>& constants,
                     const std::vector<std::string>& inputs, std::size_t longest);

}  // namespace crosstune::core
