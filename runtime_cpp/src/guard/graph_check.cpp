#include "guard/graph_check.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "error.hpp"
#include "guard/constant.hpp"
#include "guard/graph_bounds.hpp"
#include "guard/graph_shapes.hpp"
#include "guard/message.hpp"

namespace crosstune::core {
namespace {

// What the check collects from a graph.
struct GraphSummary {
  std::map<std::string, Value> constants;
  std::map<std::string, char> types;  // of all values, by name
  std::vector<Node> nodes;
  std::vector<std::string> inputs, outputs, intermediates;
};

void define(const std::string& name, char type, GraphSummary* summary) {
  if (!summary->types.emplace(name, type).second) throw WireError("the value " + quoted(name) + " twice");
}

// Reads an attribute that is within the rules into `attributes`.
void check_attribute(std::string_view bytes, const std::string& op, const AttributesRules& rules,
                     std::map<std::string, std::vector<double>>* attributes) {
  const Message attribute(bytes, graph_rules().attribute);
  const std::string name = attribute.string(1), of = "the attribute " + quoted(name) + " of " + op;
  const auto allowed = rules.find(name);
  if (allowed == rules.end()) throw WireError(of);
  const AttributeType type = allowed->second.type;
  const std::uint32_t place = type == AttributeType::kFloat ? 2 : type == AttributeType::kInt ? 3 : 8;
  const std::uint64_t number = type == AttributeType::kFloat ? 1 : type == AttributeType::kInt ? 2 : 7;  // AttributeProto.type
  bool fits = attribute.number(20) == number && attribute.find(place);
  for (const std::uint32_t other : {2u, 3u, 8u}) fits = fits && (other == place || !attribute.find(other));
  if (!fits) throw WireError(of + " in another form");
  std::vector<double> values;
  if (type == AttributeType::kFloat) {
    float value = 0;
    std::memcpy(&value, attribute.find(place)->bytes.data(), sizeof(value));
    values.push_back(static_cast<double>(value));
  } else {
    std::vector<std::uint64_t> numbers;
    attribute.each(place, [&](const WireField& field) { append_numbers(field, allowed->second.most, &numbers); });
    for (const std::uint64_t value : numbers) values.push_back(static_cast<double>(static_cast<std::int64_t>(value)));
  }
  bool in_range = values.size() <= allowed->second.most;
  for (const double value : values) in_range = in_range && allowed->second.lowest <= value && value <= allowed->second.highest;
  if (!in_range) throw WireError(of + " out of its range");
  if (!attributes->emplace(name, std::move(values)).second) throw WireError(of + " twice");
}

// Checks an input, output or intermediate tensor and returns its name; its shape may be anything.
std::string check_value(std::string_view bytes) {
  const GraphRules& rules = graph_rules();
  const Message value(bytes, rules.value);
  check_entries(value, 4);
  if (const auto type = value.find(2)) {
    if (const auto tensor = Message(type->bytes, rules.type).find(1)) {
      if (const auto shape = Message(tensor->bytes, rules.tensor_type).find(2)) {
        Message(shape->bytes, rules.shape).each(1, [&](const WireField& field) {
          Message(field.bytes, rules.dimension).string(2);
        });
      }
    }
  }
  return value.string(1);
}

// Reads a node that a build can have written: its operator, the types of its inputs, its attributes.
Node check_node(const Message& message, GraphSummary* summary) {
  const GraphRules& rules = graph_rules();
  check_entries(message, 9);
  Node node;
  const std::string domain = message.string(7);
  node.op = message.string(4);
  const auto known_domain = rules.domains.find(domain);
  if (known_domain != rules.domains.end()) {
    const auto& operators = rules.operators.at(known_domain->second);
    const auto found = operators.find(node.op);
    if (found != operators.end()) node.rules = &found->second;
  }
  if (node.rules == nullptr)
    throw WireError("the operator " + quoted(node.op) + " of " + (domain.empty() ? "ai.onnx" : escaped(domain)));
  message.each(5, [&](const WireField& field) { check_attribute(field.bytes, node.op, node.rules->attributes, &node.attributes); });
  message.each(1, [&](const WireField& field) { node.inputs.push_back(string_of(field)); });
  message.each(2, [&](const WireField& field) { node.outputs.push_back(string_of(field)); });
  std::string types;
  for (const std::string& name : node.inputs) {
    const auto type = summary->types.find(name);
    if (name.empty()) types += '-';
    else if (type == summary->types.end())
      throw WireError("a node " + node.op + " that reads " + quoted(name) + " before it is there");
    else types += type->second;
  }
  if (node.rules->shape == "cast") {  // the type that it casts to counts as an input
    const auto to = node.attributes.find("to");
    const auto type = to == node.attributes.end() ? rules.types.end() : rules.types.find(static_cast<std::uint64_t>(to->second[0]));
    types += type == rules.types.end() ? '?' : type->second.letter;
  }
  const std::string* expected = node.rules->outputs(types);
  if (expected == nullptr) throw WireError("a node " + node.op + " with the inputs " + types.substr(0, 60));
  node.types = *expected;
  if (node.outputs.empty() || node.outputs.size() > expected->size() || node.outputs[0].empty())
    throw WireError("a node " + node.op + " with " + std::to_string(node.outputs.size()) + " outputs");
  for (std::size_t i = 0; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty()) define(node.outputs[i], node.types[i], summary);
  return node;
}

void check_values(const Message& graph, GraphSummary* summary) {
  check_entries(graph, 16);
  graph.each(5, [&](const WireField& field) {
    Constant constant = parse_constant(field.bytes);
    if (constant.name.empty()) throw WireError("a constant without a name");
    summary->types[constant.name] = constant.value.type;
    if (!summary->constants.emplace(constant.name, std::move(constant.value)).second)
      throw WireError("the constant " + quoted(constant.name) + " twice");
  });
  for (const auto& [number, names] :
       {std::pair(11u, &summary->inputs), std::pair(12u, &summary->outputs), std::pair(13u, &summary->intermediates)})
    graph.each(number, [&, target = names](const WireField& field) { target->push_back(check_value(field.bytes)); });
}

std::vector<std::string> strings_of(const Message& message, std::uint32_t number) {
  std::vector<std::string> strings;
  message.each(number, [&](const WireField& field) { strings.push_back(string_of(field)); });
  return strings;
}

// Checks the function that a graph consists of: its only node calls it, and all values have the same names inside. Its nodes
// are checked as those of a graph are.
void check_function(const Message& function, const Message& graph, const std::map<std::string, std::uint64_t>& opsets,
                    const GraphSummary& summary) {
  const GraphRules& rules = graph_rules();
  const std::string name = function.string(1), domain = function.string(10);
  if (name != rules.function.name || domain != rules.function.domain)
    throw WireError("the function " + quoted(name) + " of " + (domain.empty() ? "ai.onnx" : escaped(domain)));
  function.each(9, [&](const WireField& field) {
    const Message opset(field.bytes, rules.opset);
    const auto known = rules.domains.find(opset.string(1));
    const auto version = known == rules.domains.end() ? opsets.end() : opsets.find(known->second);
    if (version == opsets.end() || version->second != opset.number(2)) throw WireError("a function of another opset");
  });
  std::vector<std::string_view> nodes;
  std::size_t count = 0;
  graph.each(1, [&](const WireField& field) {
    if (count++ == 0) nodes.push_back(field.bytes);
  });
  if (count != 1) throw WireError("a function and " + std::to_string(count) + " nodes");
  const Message call(nodes[0], rules.node);
  check_entries(call, 9);
  if (call.string(4) != name || call.string(7) != domain) throw WireError("a function that no node calls");
  std::map<std::string, std::vector<double>> attributes;
  call.each(5, [&](const WireField& field) { check_attribute(field.bytes, name, rules.function.attributes, &attributes); });
  const std::vector<std::string> inputs = strings_of(call, 1), outputs = strings_of(call, 2);
  bool same = inputs == strings_of(function, 4) && outputs == strings_of(function, 5) && outputs == summary.outputs;
  for (const std::string& input : inputs) {
    same = same && (summary.constants.count(input) != 0 ||
                    std::find(summary.inputs.begin(), summary.inputs.end(), input) != summary.inputs.end());
  }
  if (!same) throw WireError("a function with other inputs and outputs than the graph");
}

void append(Node node, GraphSummary* summary) {
  const std::size_t most = graph_rules().limits.nodes;
  if (summary->nodes.size() == most) throw WireError("more than " + std::to_string(most) + " nodes");
  summary->nodes.push_back(std::move(node));
}

// Whether a node runs one of two branches.
bool has_branches(const Message& node) {
  const GraphRules& rules = graph_rules();
  const auto domain = rules.domains.find(node.string(7));
  return node.string(4) == rules.branches.name && domain != rules.domains.end() && domain->second == rules.branches.domain;
}

// Checks a node that runs one of two branches as if it ran both: they have no constants and no branches of their own.
void check_branches(const Message& node, GraphSummary* summary) {
  static const OperatorRules either{"either", {}, {}};  // each output counts as a node that reads what the two branches give
  constexpr std::uint64_t kGraphAttribute = 5;           // AttributeProto.type
  const GraphRules& rules = graph_rules();
  const std::string& op = rules.branches.name;
  check_entries(node, 9);
  const std::vector<std::string> inputs = strings_of(node, 1), outputs = strings_of(node, 2);
  const auto type_of = [&](const std::string& name) {
    const auto type = summary->types.find(name);
    return type == summary->types.end() ? '\0' : type->second;
  };
  if (inputs.size() != 1 || type_of(inputs[0]) != 'b') throw WireError("a node " + op + " with other inputs than one condition");
  std::map<std::string, std::vector<std::string>> results;
  node.each(5, [&](const WireField& field) {
    const Message branch(field.bytes, rules.branch);
    const std::string name = branch.string(1);
    const auto body = branch.find(6);
    if ((name != rules.branches.then_branch && name != rules.branches.else_branch) || results.count(name) != 0 || !body ||
        branch.number(20) != kGraphAttribute)
      throw WireError("the attribute " + quoted(name) + " of " + op);
    const Message graph(body->bytes, rules.branch_graph);
    graph.each(1, [&](const WireField& inner) { append(check_node(Message(inner.bytes, rules.node), summary), summary); });
    std::vector<std::string>& names = results[name];
    graph.each(12, [&](const WireField& value) { names.push_back(check_value(value.bytes)); });
  });
  const std::vector<std::string>&then = results[rules.branches.then_branch], &otherwise = results[rules.branches.else_branch];
  if (outputs.empty() || then.size() != outputs.size() || otherwise.size() != outputs.size())
    throw WireError("a node " + op + " whose branches give another number of values");
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const char type = type_of(then[i]);
    if (type == '\0' || type != type_of(otherwise[i])) throw WireError("a node " + op + " whose branches differ");
    define(outputs[i], type, summary);
    append({op, &either, {then[i], otherwise[i]}, {outputs[i]}, std::string(1, type), {}}, summary);
  }
}

// `nodes` is the number of the field that has them.
void check_nodes(const Message& graph, std::uint32_t nodes, GraphSummary* summary) {
  for (const std::string& name : summary->inputs) define(name, 'l', summary);
  graph.each(nodes, [&](const WireField& field) {
    const Message node(field.bytes, graph_rules().node);
    if (has_branches(node)) check_branches(node, summary);
    else append(check_node(node, summary), summary);
  });
  for (const std::string& name : summary->outputs)
    if (summary->types.count(name) == 0) throw WireError("no node that computes " + quoted(name));
}

// Returns the version of each domain.
std::map<std::string, std::uint64_t> check_versions(const Message& model, const GraphFacts& facts) {
  std::map<std::string, std::uint64_t> opsets;
  model.each(8, [&](const WireField& field) {
    const Message opset(field.bytes, graph_rules().opset);
    const std::string name = opset.string(1);
    const auto domain = graph_rules().domains.find(name);
    if (domain == graph_rules().domains.end()) throw WireError("the domain " + quoted(name));
    if (!opsets.emplace(domain->second, opset.number(2)).second) throw WireError("the domain " + quoted(name) + " twice");
  });
  const auto opset = static_cast<std::uint64_t>(facts.opset), ir_version = static_cast<std::uint64_t>(facts.ir_version);
  if (opsets[""] == opset && model.number(1) == ir_version) return opsets;
  throw WireError("opset " + std::to_string(opsets[""]) + " and IR version " + std::to_string(model.number(1)) +
                  " where the manifest says " + std::to_string(opset) + " and " + std::to_string(ir_version));
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + quoted(name);
    if (text.size() > 200) break;
  }
  return "[" + text + "]";
}

// The number of rows of the smallest table from which input_ids select rows.
std::uint64_t vocabulary_size(const GraphSummary& summary) {
  std::optional<std::int64_t> rows;
  for (const Node& node : summary.nodes) {
    if (node.op != "Gather" || node.inputs[1] != "input_ids") continue;
    const auto table = summary.constants.find(node.inputs[0]);
    if (table == summary.constants.end() || table->second.shape.size() != 2) continue;
    rows = rows ? std::min(*rows, table->second.shape[0]) : table->second.shape[0];
  }
  if (!rows) throw WireError("no embedding table for input_ids");
  return static_cast<std::uint64_t>(*rows);
}

std::uint64_t check_model(std::string_view bytes, const GraphFacts& facts, std::size_t longest) {
  const GraphRules& rules = graph_rules();
  const Message model(bytes, rules.model);
  const std::map<std::string, std::uint64_t> opsets = check_versions(model, facts);
  const auto found = model.find(7);
  if (!found) throw WireError("no nodes");
  check_entries(model, 14);
  const Message graph(found->bytes, rules.graph);
  GraphSummary summary;
  check_values(graph, &summary);
  if (summary.inputs != facts.inputs || summary.outputs != facts.outputs) {
    throw WireError(at_most(200, "inputs " + quoted_list(summary.inputs) + " and outputs " + quoted_list(summary.outputs) +
                                     " differ from the manifest"));
  }
  if (const auto part = model.find(25)) {
    const Message function(part->bytes, rules.function_message);
    check_function(function, graph, opsets, summary);
    check_nodes(function, 7, &summary);
  } else {
    check_nodes(graph, 1, &summary);
  }
  const std::uint64_t rows = vocabulary_size(summary);
  require_bounded(summary.nodes, summary.constants, summary.inputs, longest);
  return rows;
}

}  // namespace

std::uint64_t check_graph(std::string_view model, const GraphFacts& facts, const std::string& where, std::size_t longest) {
  try {
    return check_model(model, facts, longest);
  } catch (const WireError& error) {
    throw bundle_error(where + ": the graph has " + error.what() +
                       ", expected only what a build writes. Do not use it; build the bundle again.");
  }
}

}  // namespace crosstune::core
