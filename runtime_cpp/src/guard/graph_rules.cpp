#include "guard/graph_rules.hpp"

#include "graph_rules.inc"
#include "bundle/json_reader.hpp"

namespace crosstune::core {
namespace {

std::map<std::uint32_t, std::string> texts_by_number(const JsonReader& reader, const std::string& key) {
  std::map<std::uint32_t, std::string> found;
  const JsonReader inner = reader.inner(key);
  for (const auto& [number, _] : reader.object(key)) found[static_cast<std::uint32_t>(std::stoul(number))] = inner.text(number);
  return found;
}

WireKind kind_of(const std::string& name) {
  return name == "varint" ? WireKind::kVarint : name == "fixed32" ? WireKind::kFixed32 : WireKind::kBytes;
}

MessageRules message(const JsonReader& messages, const std::string& name) {
  const JsonReader reader = messages.inner(name);
  MessageRules rules{reader.text("called"), {}, texts_by_number(reader, "named"), reader.boolean("numbers_one_a_field")};
  for (const char* list : {"once", "many"})
    for (const auto& [number, kind] : texts_by_number(reader, list))
      rules.fields[number] = {kind_of(kind), list == std::string_view("once")};
  return rules;
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
