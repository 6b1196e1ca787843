// The shape of every value of a graph, before onnxruntime sees the graph. The same as
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

using Inputs = std::vector<const Value*>;  // nullptr for one that is left out

// The outputs of a node. With `fewer_rows`, a node that selects rows of a batch leaves one out, so that rows of two selections do
// not fit. Throws WireError when a shape does not fit, cannot be told, or is too large.
std::vector<Value> results_of(const Node& node, const Inputs& inputs, bool fewer_rows);

double size_of(const Shape& shape);

// The error that a graph takes too much.
WireError too_much(const Node& node);

}  // namespace crosstune::core
