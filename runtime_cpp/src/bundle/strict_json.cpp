#include "bundle/strict_json.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace crosstune::core {
namespace {

constexpr std::size_t kMaxDepth = 64;

// Builds a Json from the parser's events, which show duplicate keys and depth.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Json root;

  bool null() override { return add({nullptr}); }
  bool boolean(bool value) override { return add({value}); }
  bool number_integer(number_integer_t value) override { return add({std::int64_t{value}}); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= std::uint64_t{std::numeric_limits<std::int64_t>::max()})
      return add({static_cast<std::int64_t>(value)});
    return add({static_cast<double>(value)});
  }
  bool number_float(number_float_t value, const string_t&) override { return add({value}); }
  bool string(string_t& value) override { return add({std::move(value)}); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open({JsonObject()}); }
  bool start_array(std::size_t) override { return open({JsonArray()}); }
  bool end_array() override { return close(); }

  bool end_object() override {
    auto& object = std::get<JsonObject>(open_.back()->value);
    std::sort(object.begin(), object.end(), [](const JsonMember& a, const JsonMember& b) { return a.key < b.key; });
    const auto duplicate = std::adjacent_find(object.begin(), object.end(),
                                          [](const JsonMember& a, const JsonMember& b) { return a.key == b.key; });
    if (duplicate != object.end()) throw JsonError("key " + json_text(duplicate->key) + " twice");
    return close();
  }

  bool key(string_t& name) override {
    std::get<JsonObject>(open_.back()->value).push_back({std::move(name), {}});
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw JsonError("syntax error at byte " + std::to_string(position));
  }

 private:
  Json* insert(Json value) {
    if (open_.empty()) return &(root = std::move(value));
    if (auto* array = std::get_if<JsonArray>(&open_.back()->value)) return &array->emplace_back(std::move(value));
    return &(std::get<JsonObject>(open_.back()->value).back().value = std::move(value));
  }
  bool add(Json value) {
    insert(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (open_.size() == kMaxDepth) throw JsonError("nested deeper than " + std::to_string(kMaxDepth) + " levels");
    open_.push_back(insert(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<Json*> open_;  // arrays and objects not yet closed, outermost first; only the last one grows, so no pointer dangles
};

}  // namespace

const Json* find(const JsonObject& object, std::string_view key) {
  const auto member = std::lower_bound(object.begin(), object.end(), key,
                                      [](const JsonMember& a, std::string_view b) { return a.key < b; });
  return member == object.end() || member->key != key ? nullptr : &member->value;
}

Json parse_json(std::string_view text) {
  // The parser stops at a NUL and skips a byte order mark; JSON allows neither.
  const std::size_t invalid = text.substr(0, 3) == "\xEF\xBB\xBF" ? 0 : text.find('\0');
  if (invalid != std::string_view::npos) throw JsonError("syntax error at byte " + std::to_string(invalid + 1));
  JsonBuilder builder;
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return std::move(builder.root);
}

std::string json_text(std::string_view text) { return nlohmann::json(text).dump(); }

std::string json_text(double number) { return nlohmann::json(number).dump(); }

}  // namespace crosstune::core
