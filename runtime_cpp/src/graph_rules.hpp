// What a graph may hold: crosstune_export/runtime/graph_rules.json, which every runtime reads.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "wire.hpp"

namespace crosstune::core {

// A message of onnx.proto: its fields by number, and how each is written.
struct MessageRules {
  std::string called;                       // in our messages
  std::map<std::uint32_t, WireKind> once;   // fields that stand at most once; numbers below 64
  std::map<std::uint32_t, WireKind> many;   // fields that may repeat
  std::map<std::uint32_t, std::string> named;  // what some fields are that are on neither list
  bool numbers_one_a_field = false;         // whether repeated numbers may stand one a field, not packed into one
};

struct GraphRules {
  std::map<std::string, std::string> domains;              // as written -> as listed in `operators`
  std::map<std::string, std::set<std::string>> operators;  // by domain
  std::map<std::uint64_t, std::uint64_t> element_bytes;    // by the number of the type in onnx.proto
  MessageRules model, opset, entry, graph, node, attribute, constant, value, type, tensor_type, shape, dimension;
};

// Compiled in, read once.
const GraphRules& graph_rules();

}  // namespace crosstune::core
