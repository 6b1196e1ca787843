#include "guard/message.hpp"

#include "utf8.hpp"

namespace crosstune::core {
namespace {

std::string escape_between(std::string_view name, const char* quote) {
  std::string line = quote;
  for (const char c : name) {
    if (c == '\\' || c == '\'') line += '\\';
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) line += c;
    else line += std::string("\\x") + "0123456789abcdef"[c >> 4 & 15] + "0123456789abcdef"[c & 15];
    if (line.size() > 60) break;
  }
  return at_most(60, line + quote);
}

}  // namespace

Message::Message(std::string_view bytes, const MessageRules& rules) : bytes_(bytes) {
  std::uint64_t single_fields = 0;  // a bit for each number
  WireReader reader(bytes_);
  WireField field;
  while (reader.next(&field)) {
    const auto rule = rules.fields.find(field.number);
    const std::string number = std::to_string(field.number);
    if (rule == rules.fields.end()) {
      const auto name = rules.forbidden_names.find(field.number);
      throw WireError((name == rules.forbidden_names.end() ? "an unknown field " + number : name->second) + " in " +
                      rules.display_name);
    }
    const bool is_number = field.kind == WireKind::kVarint || field.kind == WireKind::kFixed32;
    const bool once = rule->second.once;
    if (field.kind != rule->second.kind && !(!once && is_number && rules.allow_unpacked))
      throw WireError("field " + number + " of " + rules.display_name + " in another form");
    if (!once) continue;
    if (single_fields >> field.number & 1) throw WireError("field " + number + " of " + rules.display_name + " twice");
    single_fields |= std::uint64_t{1} << field.number;
  }
}

std::optional<WireField> Message::find(std::uint32_t number) const {
  std::optional<WireField> last;
  each(number, [&](const WireField& field) { last = field; });
  return last;
}

std::string Message::string(std::uint32_t number) const {
  const auto field = find(number);
  return field ? string_of(*field) : "";
}

std::uint64_t Message::number(std::uint32_t number) const {
  const auto field = find(number);
  return field ? field->value : 0;
}

std::string string_of(const WireField& field) {
  if (first_invalid(field.bytes) != field.bytes.size()) throw WireError("a name that is not UTF-8");
  return std::string(field.bytes);
}

WireError not_bytes(const WireField& field) {
  return WireError("field " + std::to_string(field.number) + " is a number, expected bytes");
}

void check_entries(const Message& message, std::uint32_t number) {
  message.each(number, [](const WireField& field) {
    if (field.kind != WireKind::kBytes) throw not_bytes(field);
    Message(field.bytes, graph_rules().entry);
  });
}

std::string quoted(std::string_view name) { return escape_between(name, "'"); }

std::string escaped(std::string_view name) { return escape_between(name, ""); }

std::string at_most(std::size_t max_bytes, const std::string& text) {
  std::string buffer;
  bool truncated = false;
  return std::string(to_valid_utf8(text, max_bytes, &buffer, &truncated));
}

}  // namespace crosstune::core
