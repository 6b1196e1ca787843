#include "graph_rules.hpp"

#include "graph_rules.inc"
#include "json_reader.hpp"

namespace crosstune::core {
namespace {

std::map<std::uint32_t, std::string> texts_by_number(const JsonReader& reader, const std::string& key) {
  std::map<std::uint32_t, std::string> found;
  const JsonReader inner = reader.inner(key);
  for (const auto& [number, _] : reader.object(key)) found[static_cast<std::uint32_t>(std::stoul(number))] = inner.text(number);
  return found;
}

std::map<std::uint32_t, WireKind> kinds(const JsonReader& reader, const std::string& key) {
  static const std::map<std::string, WireKind> kKinds = {
      {"varint", WireKind::kVarint}, {"bytes", WireKind::kBytes}, {"fixed32", WireKind::kFixed32}};
  std::map<std::uint32_t, WireKind> found;
  for (const auto& [number, kind] : texts_by_number(reader, key)) found[number] = kKinds.at(kind);
  return found;
}

MessageRules message(const JsonReader& messages, const std::string& name) {
  const JsonReader reader = messages.inner(name);
  return {reader.text("called"), kinds(reader, "once"), kinds(reader, "many"), texts_by_number(reader, "named"),
          reader.boolean("numbers_one_a_field")};
}

GraphRules read_rules() {
  const Json json = parse_json(kGraphRules);
  const JsonReader file("graph_rules.json", json);
  GraphRules rules;
  for (const auto& [domain, _] : file.object("domains")) rules.domains[domain] = file.inner("domains").text(domain);
  for (const auto& [domain, _] : file.object("operators")) {
    const std::vector<std::string> names = file.inner("operators").texts(domain);
    rules.operators[domain] = {names.begin(), names.end()};
  }
  for (const auto& [kind, _] : file.object("element_bytes"))
    rules.element_bytes[std::stoull(kind)] = static_cast<std::uint64_t>(file.inner("element_bytes").integer(kind, 1, 8));
  const JsonReader messages = file.inner("messages");
  for (const auto& [name, target] : std::initializer_list<std::pair<const char*, MessageRules*>>{
           {"model", &rules.model}, {"opset", &rules.opset}, {"entry", &rules.entry}, {"graph", &rules.graph},
           {"node", &rules.node}, {"attribute", &rules.attribute}, {"constant", &rules.constant}, {"value", &rules.value},
           {"type", &rules.type}, {"tensor_type", &rules.tensor_type}, {"shape", &rules.shape}, {"dimension", &rules.dimension}})
    *target = message(messages, name);
  return rules;
}

}  // namespace

const GraphRules& graph_rules() {
  static const GraphRules rules = read_rules();
  return rules;
}

}  // namespace crosstune::core
