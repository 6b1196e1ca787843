// What a graph may hold: crosstune_export/bundle/graph_rules.json, which every runtime reads.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "guard/wire.hpp"

namespace crosstune::core {

struct FieldRule {
  WireKind kind;
  bool once;  // at most once; such fields have numbers below 64
};

// A message of onnx.proto: its fields by number, and how each is written.
struct MessageRules {
  std::string called;  // in our messages
  std::map<std::uint32_t, FieldRule> fields;
  std::map<std::uint32_t, std::string> named;  // what some fields are that are not on the list
  bool numbers_one_a_field = false;            // whether repeated numbers may stand one a field, not packed into one
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
