#include "guard/graph_bounds.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "guard/wire.hpp"

namespace crosstune::core {
namespace {

// The multiplications of a node; one for each element that it reads or writes, for a node without products.
double work_of(const Node& node, const Inputs& inputs, const Value& result) {
  double work = size_of(result.shape);
  for (const Value* value : inputs)
    if (value != nullptr) work += size_of(value->shape);
  const Shape& first = inputs[0] == nullptr ? result.shape : inputs[0]->shape;
  const auto at = [](const Shape& shape, std::size_t i) { return static_cast<double>(shape[i]); };
  const std::string& kind = node.rules->shape;
  if (kind == "matmul" || kind == "gemm") return work + size_of(result.shape) * at(first, first.size() - 1);
  if (kind == "attention") return work + at(first, 0) * at(first, 1) * (at(first, 2) + at(first, 1)) * at(inputs[1]->shape, 1);
  if (kind == "multihead") return work + at(first, 0) * at(first, 1) * at(first, 1) * (at(first, 2) + at(result.shape, 2));
  return work;
}

// Refuses a selection of rows that may be empty: onnxruntime's attention divides by the number of rows. Their number must be the
// larger one of a number and a constant of at least 1.
void require_rows(const std::vector<Node>& nodes, const std::map<std::string, Value>& constants) {
  std::map<std::string, const Node*> producers;
  for (const Node& node : nodes)
    for (const std::string& name : node.outputs) producers[name] = &node;
  for (const Node& node : nodes) {
    if (node.rules->shape != "rows") continue;
    const auto count = producers.find(node.inputs[1]);
    bool some = false;
    if (count != producers.end() && count->second->op == "Max") {
      for (const std::string& name : count->second->inputs) {
        const auto constant = constants.find(name);
        if (constant == constants.end() || !constant->second.numbers || constant->second.numbers->empty()) continue;
        const std::vector<std::int64_t>& numbers = *constant->second.numbers;
        some = some || *std::min_element(numbers.begin(), numbers.end()) >= 1;
      }
    }
    if (!some) throw WireError("a node " + node.op + " that may select no row");
  }
}

struct Size {
  std::int64_t texts, tokens;
  bool fewer_rows;
};

}  // namespace

void require_bounded(const std::vector<Node>& nodes, const std::map<std::string, Value>& constants,
                     const std::vector<std::string>& inputs, std::size_t longest) {
  require_rows(nodes, constants);
  const GraphLimits& limits = graph_rules().limits;
  double elements = 0;
  for (const auto& [_, value] : constants) elements += size_of(value.shape);
  std::map<std::string, std::size_t> last_use;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    for (const std::string& name : nodes[i].inputs) last_use[name] = i;
  const auto tokens_of = static_cast<std::int64_t>(longest);
  for (const auto& [text_count, token_count, fewer_rows] :
       {Size{1, 1, false}, Size{1, tokens_of, false}, Size{2, tokens_of, false}, Size{3, tokens_of, true}}) {
    const auto rows = static_cast<double>(text_count * token_count), tokens = static_cast<double>(token_count);
    const double most_alive =
        rows * (limits.values_per_token + tokens * limits.values_per_token_pair) + elements * limits.values_per_constant;
    const double most_work =
        limits.work + rows * (elements * limits.work_per_token_and_constant + tokens * limits.work_per_token_pair);
    std::map<std::string, Value> values;  // beside the constants
    for (const std::string& name : inputs) values[name] = {'l', {text_count, token_count}, std::nullopt};
    double alive = 0, work = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const Node& node = nodes[i];
      Inputs read;
      for (const std::string& name : node.inputs) {
        const auto constant = constants.find(name);
        read.push_back(name.empty() ? nullptr : constant != constants.end() ? &constant->second : &values.at(name));
      }
      std::vector<Value> results = results_of(node, read, fewer_rows);
      work += work_of(node, read, results[0]);
      for (std::size_t j = 0; j < node.outputs.size(); ++j) {
        if (node.outputs[j].empty()) continue;
        alive += size_of(results[j].shape);
        values[node.outputs[j]] = std::move(results[j]);
      }
      if (alive > most_alive || work > most_work) throw too_much(node);
      for (const std::string& name : std::set<std::string>(node.inputs.begin(), node.inputs.end())) {
        if (name.empty() || last_use[name] != i || constants.count(name) != 0) continue;
        if (std::find(inputs.begin(), inputs.end(), name) == inputs.end()) alive -= size_of(values.at(name).shape);
      }
    }
  }
}

}  // namespace crosstune::core
