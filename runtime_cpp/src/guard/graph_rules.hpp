// What a graph may contain: crosstune_export/bundle/graph_rules.json, which all runtimes share.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "guard/wire.hpp"

namespace crosstune::core {

struct FieldRule {
  WireKind kind;
  bool once;  // at most once in a message; such fields have numbers below 64
};

// The allowed fields of one message type of onnx.proto, by field number.
struct MessageRules {
  std::string display_name;  // in error messages
  std::map<std::uint32_t, FieldRule> fields;
  std::map<std::uint32_t, std::string> forbidden_names;  // for error messages: some known fields that are not allowed
  bool allow_unpacked = false;                           // whether repeated numbers may be written without packing
};

struct GraphRules {
  std::map<std::string, std::string> domains;              // name in the graph -> key of `operators`
  std::map<std::string, std::set<std::string>> operators;  // by domain
  std::map<std::uint64_t, std::uint64_t> element_bytes;    // by the number of the data type in onnx.proto
  MessageRules model, opset, entry, graph, node, attribute, constant, value, type, tensor_type, shape, dimension;
};

// The rules that are compiled in; parsed at the first call.
const GraphRules& graph_rules();

}  // namespace crosstune::core
