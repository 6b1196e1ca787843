#include "guard/graph_check.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "error.hpp"
#include "guard/graph_rules.hpp"
#include "tokenize/utf8.hpp"
#include "guard/wire.hpp"

namespace crosstune::core {
namespace {

constexpr std::uint64_t kFloat32 = 1, kFloat16 = 10, kFloat64 = 11;  // numbers of types in onnx.proto

std::string at_most(std::size_t bytes, const std::string& text) {
  std::string buffer;
  bool cut = false;
  return std::string(repaired(text, bytes, &buffer, &cut));
}

// A text for a message: one line, at most 60 bytes.
std::string shown(std::string_view text, const char* quote) {
  std::string line = quote;
  for (const char c : text) {
    if (c == '\\' || c == '\'') line += '\\';
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) line += c;
    else line += std::string("\\x") + "0123456789abcdef"[c >> 4 & 15] + "0123456789abcdef"[c & 15];
    if (line.size() > 60) break;
  }
  return at_most(60, line + quote);
}

std::string quoted(std::string_view text) { return shown(text, "'"); }

WireError not_bytes(const WireField& field) {
  return WireError("field " + std::to_string(field.number) + " is a number, expected bytes");
}

std::string text_of(const WireField& field) {
  if (first_invalid(field.bytes) != field.bytes.size()) throw WireError("a name that is not UTF-8");
  return std::string(field.bytes);
}

// A message all of whose fields are on its list, written as it says, single ones once.
class Message {
 public:
  Message(std::string_view bytes, const MessageRules& rules) : bytes_(bytes) {
    std::uint64_t seen = 0;
    each_field([&](const WireField& field) {
      const auto rule = rules.fields.find(field.number);
      const std::string number = std::to_string(field.number);
      if (rule == rules.fields.end()) {
        const auto named = rules.named.find(field.number);
        throw WireError((named == rules.named.end() ? "an unknown field " + number : named->second) + " in " + rules.called);
      }
      const bool is_number = field.kind == WireKind::kVarint || field.kind == WireKind::kFixed32;
      const bool once = rule->second.once;
      if (field.kind != rule->second.kind && !(!once && is_number && rules.numbers_one_a_field))
        throw WireError("field " + number + " of " + rules.called + " in another form");
      if (!once) return;
      if (seen >> field.number & 1) throw WireError("field " + number + " of " + rules.called + " twice");
      seen |= std::uint64_t{1} << field.number;
    });
  }

  template <typename Use>
  void each(std::uint32_t number, Use use) const {
    each_field([&](const WireField& field) {
      if (field.number == number) use(field);
    });
  }

  std::optional<WireField> find(std::uint32_t number) const {
    std::optional<WireField> found;
    each(number, [&](const WireField& field) { found = field; });
    return found;
  }

  std::string text(std::uint32_t number) const {
    const auto field = find(number);
    return field ? text_of(*field) : "";
  }

  std::uint64_t number(std::uint32_t number) const {
    const auto field = find(number);
    return field ? field->value : 0;
  }

 private:
  template <typename Use>
  void each_field(Use use) const {
    WireReader reader(bytes_);
    WireField field;
    while (reader.next(&field)) use(field);
  }

  std::string_view bytes_;
};

// Metadata, of which nothing is read.
void check_entries(const Message& message, std::uint32_t number) {
  message.each(number, [](const WireField& field) {
    if (field.kind != WireKind::kBytes) throw not_bytes(field);
    Message(field.bytes, graph_rules().entry);
  });
}

// Whether all numbers are finite; a number alone may be infinite, as what hides padding is.
template <typename Bits>
bool are_finite(std::string_view raw, Bits exponent) {
  const std::size_t count = raw.size() / sizeof(Bits);
  const auto at = [&](std::size_t i) {
    Bits bits;
    std::memcpy(&bits, raw.data() + i * sizeof(Bits), sizeof(Bits));
    return bits;
  };
  constexpr Bits kNoSign = static_cast<Bits>(static_cast<Bits>(~Bits{0}) >> 1);
  if (count == 1) return (at(0) & kNoSign) <= exponent;
  bool finite = true;
  for (std::size_t i = 0; i < count; ++i) finite &= (at(i) & exponent) != exponent;
  return finite;
}

bool are_finite(std::string_view raw, std::uint64_t kind) {
  if (kind == kFloat32) return are_finite<std::uint32_t>(raw, 0x7F800000);
  if (kind == kFloat16) return are_finite<std::uint16_t>(raw, 0x7C00);
  if (kind == kFloat64) return are_finite<std::uint64_t>(raw, 0x7FF0000000000000);
  return true;
}

struct Constant {
  std::string name;
  std::vector<std::uint64_t> shape;
};

std::string shown(const std::vector<std::uint64_t>& shape) {
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(shape.size(), 8); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return "(" + text + (shape.size() == 1 ? ",)" : ")");
}

// Numbers of a repeated field, written one a field or packed into one; of very many only the first are kept.
void append_numbers(const WireField& field, std::vector<std::uint64_t>* numbers) {
  const auto keep = [numbers](std::uint64_t value) {
    if (numbers->size() < 9) numbers->push_back(value);
  };
  if (field.kind == WireKind::kVarint) return keep(field.value);
  if (field.kind != WireKind::kBytes) throw not_bytes(field);
  for (std::size_t at = 0; at < field.bytes.size();) keep(read_varint(field.bytes, &at));
}

// Whether so many elements have so many bytes.
bool fits(const std::vector<std::uint64_t>& shape, std::uint64_t element_bytes, std::uint64_t size) {
  if (shape.size() > 8) return false;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return size == 0;
  std::uint64_t bytes = element_bytes;
  for (const std::uint64_t length : shape) {
    if (bytes > size / length) return false;
    bytes *= length;
  }
  return bytes == size;
}

// A constant whose bytes are as many as its shape says, and finite.
Constant check_constant(std::string_view bytes) {
  const Message tensor(bytes, graph_rules().constant);
  check_entries(tensor, 16);
  Constant constant{tensor.text(8), {}};
  const std::uint64_t kind = tensor.number(2);
  tensor.each(1, [&](const WireField& field) { append_numbers(field, &constant.shape); });
  const auto raw = tensor.find(9);
  const std::string_view data = raw ? raw->bytes : std::string_view();
  const auto element = graph_rules().element_bytes.find(kind);
  if (element == graph_rules().element_bytes.end())
    throw WireError("the constant " + quoted(constant.name) + " of type " + std::to_string(kind));
  if (!fits(constant.shape, element->second, data.size())) {
    throw WireError(std::to_string(data.size()) + " bytes for the constant " + quoted(constant.name) + " of shape " +
                    shown(constant.shape));
  }
  if (!are_finite(data, kind)) throw WireError("numbers in the constant " + quoted(constant.name) + " that are not finite");
  return constant;
}

void check_attribute(std::string_view bytes, const std::string& op) {
  const Message attribute(bytes, graph_rules().attribute);
  std::vector<std::uint64_t> numbers;
  attribute.each(8, [&](const WireField& field) { append_numbers(field, &numbers); });
  if (const auto tensor = attribute.find(5)) check_constant(tensor->bytes);
  for (const std::uint32_t number : {2u, 7u}) {
    attribute.each(number, [&](const WireField& field) {
      if (field.kind == WireKind::kVarint) return;
      if (field.bytes.size() % sizeof(float) != 0) throw WireError("an attribute of " + op + " that is cut short");
      if (!are_finite(field.bytes, kFloat32)) throw WireError("an attribute of " + op + " that is not finite");
    });
  }
}

// Name of an input, an output or a value between, a tensor of any shape.
std::string check_value(std::string_view bytes) {
  const GraphRules& rules = graph_rules();
  const Message value(bytes, rules.value);
  check_entries(value, 4);
  if (const auto type = value.find(2)) {
    if (const auto tensor = Message(type->bytes, rules.type).find(1)) {
      if (const auto shape = Message(tensor->bytes, rules.tensor_type).find(2)) {
        Message(shape->bytes, rules.shape).each(1, [&](const WireField& field) { Message(field.bytes, rules.dimension).text(2); });
      }
    }
  }
  return value.text(1);
}

// What the walk over a graph has seen.
struct Found {
  std::map<std::string, std::vector<std::uint64_t>> shapes;
  std::vector<std::string> tables;  // that input_ids pick from
  std::vector<std::string> inputs, outputs, others;
};

void check_node(std::string_view bytes, Found* found) {
  const GraphRules& rules = graph_rules();
  const Message node(bytes, rules.node);
  check_entries(node, 9);
  const std::string domain = node.text(7), op = node.text(4);
  const auto known = rules.domains.find(domain);
  if (known == rules.domains.end() || rules.operators.at(known->second).count(op) == 0)
    throw WireError("the operator " + quoted(op) + " of " + (domain.empty() ? "ai.onnx" : shown(domain, "")));
  node.each(5, [&](const WireField& field) { check_attribute(field.bytes, op); });
  if (op != "Gather") return;
  std::vector<std::string> inputs;
  node.each(1, [&](const WireField& field) { inputs.push_back(text_of(field)); });
  if (inputs.size() == 2 && inputs[1] == "input_ids") found->tables.push_back(inputs[0]);
}

void check_nodes(const Message& graph, Found* found) {
  check_entries(graph, 16);
  graph.each(5, [&](const WireField& field) {
    Constant constant = check_constant(field.bytes);
    if (constant.name.empty()) throw WireError("a constant without a name");
    if (!found->shapes.emplace(constant.name, std::move(constant.shape)).second)
      throw WireError("the constant " + quoted(constant.name) + " twice");
  });
  for (const auto& [number, names] :
       {std::pair(11u, &found->inputs), std::pair(12u, &found->outputs), std::pair(13u, &found->others)})
    graph.each(number, [&, target = names](const WireField& field) { target->push_back(check_value(field.bytes)); });
  graph.each(1, [&](const WireField& field) { check_node(field.bytes, found); });
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + quoted(name);
    if (text.size() > 200) break;
  }
  return "[" + text + "]";
}

void check_versions(const Message& model, const GraphFacts& facts) {
  std::map<std::string, std::uint64_t> opsets;
  model.each(8, [&](const WireField& field) {
    const Message opset(field.bytes, graph_rules().opset);
    const std::string name = opset.text(1);
    const auto domain = graph_rules().domains.find(name);
    if (domain == graph_rules().domains.end()) throw WireError("the domain " + quoted(name));
    if (!opsets.emplace(domain->second, opset.number(2)).second) throw WireError("the domain " + quoted(name) + " twice");
  });
  const auto opset = static_cast<std::uint64_t>(facts.opset), ir_version = static_cast<std::uint64_t>(facts.ir_version);
  if (opsets[""] == opset && model.number(1) == ir_version) return;
  throw WireError("opset " + std::to_string(opsets[""]) + " and IR version " + std::to_string(model.number(1)) +
                  " where the manifest says " + std::to_string(opset) + " and " + std::to_string(ir_version));
}

std::uint64_t checked(std::string_view bytes, const GraphFacts& facts) {
  const GraphRules& rules = graph_rules();
  const Message model(bytes, rules.model);
  check_versions(model, facts);
  const auto graph = model.find(7);
  if (!graph) throw WireError("no nodes");
  check_entries(model, 14);
  Found found;
  check_nodes(Message(graph->bytes, rules.graph), &found);
  if (found.inputs != facts.inputs || found.outputs != facts.outputs) {
    throw WireError(
        at_most(200, "inputs " + listed(found.inputs) + " and outputs " + listed(found.outputs) + " unlike the manifest"));
  }
  std::optional<std::uint64_t> rows;
  for (const std::string& table : found.tables) {
    const auto shape = found.shapes.find(table);
    if (shape == found.shapes.end() || shape->second.size() != 2) continue;
    rows = rows ? std::min(*rows, shape->second[0]) : shape->second[0];
  }
  if (!rows) throw WireError("no table that input_ids pick from");
  return *rows;
}

}  // namespace

std::uint64_t check_graph(std::string_view model, const GraphFacts& facts, const std::string& where) {
  try {
    return checked(model, facts);
  } catch (const WireError& error) {
    throw refused(where + ": the graph has " + error.what() +
                  ", expected only what a build writes. Do not use it; build the bundle again.");
  }
}

}  // namespace crosstune::core
