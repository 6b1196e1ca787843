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

AttributesRules read_attributes(const JsonReader& reader) {
  AttributesRules rules;
  if (!reader.has("attributes")) return rules;
  const JsonReader attributes = reader.child("attributes");
  for (const auto& [name, _] : reader.object("attributes")) {
    const JsonReader attribute = attributes.child(name);
    const std::string& type = attribute.string("type");
    const std::vector<double> range = attribute.numbers("range");
    const auto most = attribute.has("most") ? attribute.integer("most", 0, 256) : 1;
    rules[name] = {type == "ints"    ? AttributeType::kInts
                   : type == "float" ? AttributeType::kFloat
                                     : AttributeType::kInt,
                   range.at(0), range.at(1), static_cast<std::size_t>(most)};
  }
  return rules;
}

OperatorRules read_operator(const JsonReader& reader) {
  OperatorRules rules{reader.string("shape"), {}, read_attributes(reader)};
  for (const std::string& form : reader.strings("forms")) {
    const std::size_t arrow = form.find('>');
    rules.forms[form.substr(0, arrow)] = form.substr(arrow + 1);
  }
  return rules;
}

GraphRules read_rules() {
  const Json json = parse_json(kGraphRules);
  const JsonReader file("graph_rules.json", json);
  GraphRules rules;
  for (const auto& [domain, _] : file.object("domains")) rules.domains[domain] = file.child("domains").string(domain);
  for (const auto& [domain, _] : file.object("operators")) {
    rules.operators[domain];
    const JsonReader operators = file.child("operators").child(domain);
    for (const auto& [name, _unused] : file.child("operators").object(domain))
      rules.operators[domain][name] = read_operator(operators.child(name));
  }
  for (const auto& [number, _] : file.object("types")) {
    const JsonReader type = file.child("types").child(number);
    rules.types[std::stoull(number)] = {type.string("letter").at(0), static_cast<std::uint64_t>(type.integer("bytes", 1, 8))};
  }
  const JsonReader function = file.child("function");
  rules.function = {function.string("name"), function.string("domain"), read_attributes(function)};
  const JsonReader branches = file.child("branches");
  rules.branches = {branches.string("name"), branches.string("domain"), branches.string("then"), branches.string("else")};
  const JsonReader limits = file.child("limits");
  rules.limits = {static_cast<std::size_t>(limits.integer("nodes", 1, 1 << 30)),
                  limits.number("values_per_token"), limits.number("values_per_token_pair"),
                  limits.number("values_per_constant"), limits.number("work"),
                  limits.number("work_per_token_and_constant"), limits.number("work_per_token_pair")};
  const JsonReader messages = file.child("messages");
  for (const auto& [name, target] : std::initializer_list<std::pair<const char*, MessageRules*>>{
           {"model", &rules.model}, {"opset", &rules.opset}, {"entry", &rules.entry}, {"graph", &rules.graph}, {"function", &rules.function_message},
           {"node", &rules.node}, {"attribute", &rules.attribute}, {"branch", &rules.branch}, {"branch_graph", &rules.branch_graph}, {"constant", &rules.constant}, {"value", &rules.value},
           {"type", &rules.type}, {"tensor_type", &rules.tensor_type}, {"shape", &rules.shape}, {"dimension", &rules.dimension}})
    *target = read_message_rules(messages, name);
  return rules;
}

constexpr std::size_t kMostInputs = 256;  // of an operator that takes any number of them

}  // namespace

const std::string* OperatorRules::outputs(const std::string& inputs) const {
  auto form = forms.end();
  if (!inputs.empty() && inputs.size() <= kMostInputs && inputs.find_first_not_of(inputs[0]) == std::string::npos)
    form = forms.find(inputs.substr(0, 1) + "+");  // any number of inputs of one type
  if (form == forms.end()) form = forms.find(inputs);
  return form == forms.end() ? nullptr : &form->second;
}

const GraphRules& graph_rules() {
  static const GraphRules rules = read_rules();
  return rules;
}

}  // namespace crosstune::core
