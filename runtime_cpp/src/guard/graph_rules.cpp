#include "guard/graph_rules.hpp"

#include "bundle/json_reader.hpp"
#include "graph_rules.inc"

namespace crosstune::core {
namespace {

// An object whose keys are field numbers.
std::map<std::uint32_t, std::string> read_by_number(const JsonReader& reader, const std::string& key) {
  std::map<std::uint32_t, std::string> strings;
  const JsonReader child = reader.child(key);
  for (const auto& [number, _] : reader.object(key))
    strings[static_cast<std::uint32_t>(std::stoul(number))] = child.string(number);
  return strings;
}

WireKind parse_kind(const std::string& name) {
  return name == "varint" ? WireKind::kVarint : name == "fixed32" ? WireKind::kFixed32 : WireKind::kBytes;
}

MessageRules read_message_rules(const JsonReader& messages, const std::string& name) {
  const JsonReader reader = messages.child(name);
  MessageRules rules{reader.string("called"), {}, read_by_number(reader, "named"), reader.boolean("numbers_one_a_field")};
  for (const char* list : {"once", "many"})
    for (const auto& [number, kind] : read_by_number(reader, list))
      rules.fields[number] = {parse_kind(kind), list == std::string_view("once")};
  return rules;
}

GraphRules read_rules() {
  const Json json = parse_json(kGraphRules);
  const JsonReader file("graph_rules.json", json);
  GraphRules rules;
  for (const auto& [domain, _] : file.object("domains")) rules.domains[domain] = file.child("domains").string(domain);
  for (const auto& [domain, _] : file.object("operators")) {
    const std::vector<std::string> names = file.child("operators").strings(domain);
    rules.operators[domain] = {names.begin(), names.end()};
  }
  for (const auto& [type, _] : file.object("element_bytes"))
    rules.element_bytes[std::stoull(type)] = static_cast<std::uint64_t>(file.child("element_bytes").integer(type, 1, 8));
  const JsonReader messages = file.child("messages");
  for (const auto& [name, target] : std::initializer_list<std::pair<const char*, MessageRules*>>{
           {"model", &rules.model}, {"opset", &rules.opset}, {"entry", &rules.entry}, {"graph", &rules.graph},
           {"node", &rules.node}, {"attribute", &rules.attribute}, {"constant", &rules.constant}, {"value", &rules.value},
           {"type", &rules.type}, {"tensor_type", &rules.tensor_type}, {"shape", &rules.shape}, {"dimension", &rules.dimension}})
    *target = read_message_rules(messages, name);
  return rules;
}

}  // namespace

const GraphRules& graph_rules() {
  static const GraphRules rules = read_rules();
  return rules;
}

}  // namespace crosstune::core
