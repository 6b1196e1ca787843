#include "guard/graph_check.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "error.hpp"
#include "guard/constant.hpp"
#include "guard/message.hpp"

namespace crosstune::core {
namespace {

// What the check collects from the nodes and constants of a graph.
struct GraphSummary {
  std::map<std::string, std::vector<std::uint64_t>> shapes;  // of the constants, by name
  std::vector<std::string> embedding_tables;                 // names of tensors from which input_ids select rows
  std::vector<std::string> inputs, outputs, intermediates;
};

void check_attribute(std::string_view bytes, const std::string& op) {
  const Message attribute(bytes, graph_rules().attribute);
  std::vector<std::uint64_t> numbers;
  attribute.each(8, [&](const WireField& field) { append_numbers(field, &numbers); });
  if (const auto tensor = attribute.find(5)) parse_constant(tensor->bytes);
  for (const std::uint32_t number : {2u, 7u}) {
    attribute.each(number, [&](const WireField& field) {
      if (field.kind == WireKind::kVarint) return;
      if (field.bytes.size() % sizeof(float) != 0) throw WireError("an attribute of " + op + " that is cut short");
      if (!are_finite_floats(field.bytes)) throw WireError("an attribute of " + op + " that is not finite");
    });
  }
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

void check_node(std::string_view bytes, GraphSummary* summary) {
  const GraphRules& rules = graph_rules();
  const Message node(bytes, rules.node);
  check_entries(node, 9);
  const std::string domain = node.string(7), op = node.string(4);
  const auto known_domain = rules.domains.find(domain);
  if (known_domain == rules.domains.end() || rules.operators.at(known_domain->second).count(op) == 0)
    throw WireError("the operator " + quoted(op) + " of " + (domain.empty() ? "ai.onnx" : escaped(domain)));
  node.each(5, [&](const WireField& field) { check_attribute(field.bytes, op); });
  if (op != "Gather") return;
  std::vector<std::string> inputs;
  node.each(1, [&](const WireField& field) { inputs.push_back(string_of(field)); });
  if (inputs.size() == 2 && inputs[1] == "input_ids") summary->embedding_tables.push_back(inputs[0]);
}

void check_graph_message(const Message& graph, GraphSummary* summary) {
  check_entries(graph, 16);
  graph.each(5, [&](const WireField& field) {
    Constant constant = parse_constant(field.bytes);
    if (constant.name.empty()) throw WireError("a constant without a name");
    if (!summary->shapes.emplace(constant.name, std::move(constant.shape)).second)
      throw WireError("the constant " + quoted(constant.name) + " twice");
  });
  for (const auto& [number, names] :
       {std::pair(11u, &summary->inputs), std::pair(12u, &summary->outputs), std::pair(13u, &summary->intermediates)})
    graph.each(number, [&, target = names](const WireField& field) { target->push_back(check_value(field.bytes)); });
  graph.each(1, [&](const WireField& field) { check_node(field.bytes, summary); });
}

void check_versions(const Message& model, const GraphFacts& facts) {
  std::map<std::string, std::uint64_t> opsets;
  model.each(8, [&](const WireField& field) {
    const Message opset(field.bytes, graph_rules().opset);
    const std::string name = opset.string(1);
    const auto domain = graph_rules().domains.find(name);
    if (domain == graph_rules().domains.end()) throw WireError("the domain " + quoted(name));
    if (!opsets.emplace(domain->second, opset.number(2)).second) throw WireError("the domain " + quoted(name) + " twice");
  });
  const auto opset = static_cast<std::uint64_t>(facts.opset), ir_version = static_cast<std::uint64_t>(facts.ir_version);
  if (opsets[""] == opset && model.number(1) == ir_version) return;
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
  std::optional<std::uint64_t> rows;
  for (const std::string& table : summary.embedding_tables) {
    const auto shape = summary.shapes.find(table);
    if (shape == summary.shapes.end() || shape->second.size() != 2) continue;
    rows = rows ? std::min(*rows, shape->second[0]) : shape->second[0];
  }
  if (!rows) throw WireError("no embedding table for input_ids");
  return *rows;
}

std::uint64_t check_model(std::string_view bytes, const GraphFacts& facts) {
  const GraphRules& rules = graph_rules();
  const Message model(bytes, rules.model);
  check_versions(model, facts);
  const auto graph = model.find(7);
  if (!graph) throw WireError("no nodes");
  check_entries(model, 14);
  GraphSummary summary;
  check_graph_message(Message(graph->bytes, rules.graph), &summary);
  if (summary.inputs != facts.inputs || summary.outputs != facts.outputs) {
    throw WireError(at_most(200, "inputs " + quoted_list(summary.inputs) + " and outputs " + quoted_list(summary.outputs) +
                                     " differ from the manifest"));
  }
  return vocabulary_size(summary);
}

}  // namespace

std::uint64_t check_graph(std::string_view model, const GraphFacts& facts, const std::string& where) {
  try {
    return check_model(model, facts);
  } catch (const WireError& error) {
    throw bundle_error(where + ": the graph has " + error.what() +
                       ", expected only what a build writes. Do not use it; build the bundle again.");
  }
}

}  // namespace crosstune::core
