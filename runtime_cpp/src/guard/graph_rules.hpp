// What a graph may contain: crosstune_export/bundle/graph_rules.json, which all runtimes share.
#pragma once

#include <cstdint>
#include <map>
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

enum class AttributeType : std::uint8_t { kInt, kFloat, kInts };

struct AttributeRules {
  AttributeType type;
  double lowest, highest;  // of each value
  std::size_t most;        // values
};

using AttributesRules = std::map<std::string, AttributeRules>;  // by name

// The function that a graph may consist of.
struct FunctionRules {
  std::string name, domain;
  AttributesRules attributes;  // of its call
};

// The rules for one operator.
struct OperatorRules {
  std::string shape;                                // how the shapes of its outputs follow from its inputs, see graph_shapes.hpp
  std::map<std::string, std::string> forms;         // types of the outputs by types of the inputs: a letter each, "-" for none
  AttributesRules attributes;

  // The types of the outputs for types of inputs; nullptr if no build writes such a node.
  const std::string* outputs(const std::string& inputs) const;
};

// The operator that runs one of two branches, and its attributes.
struct BranchRules {
  std::string name, domain, then_branch, else_branch;
};

struct ElementType {
  char letter;
  std::uint64_t bytes;
};

// How much a graph may take: see Limits in crosstune_export/bundle/graph_rules.py.
struct GraphLimits {
  std::size_t nodes;
  double values_per_token, values_per_token_pair, values_per_constant;
  double work, work_per_token_and_constant, work_per_token_pair;
};

struct GraphRules {
  std::map<std::string, std::string> domains;                           // name in the graph -> key of `operators`
  std::map<std::string, std::map<std::string, OperatorRules>> operators;  // by domain
  std::map<std::uint64_t, ElementType> types;                           // by the number of the data type in onnx.proto
  FunctionRules function;
  BranchRules branches;
  GraphLimits limits;
  MessageRules model, opset, entry, graph, function_message, node, attribute, branch, branch_graph, constant, value, type, tensor_type, shape, dimension;
};

// The rules that are compiled in; parsed at the first call.
const GraphRules& graph_rules();

}  // namespace crosstune::core
