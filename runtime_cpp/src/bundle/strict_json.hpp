// Strict JSON: no duplicate keys, no NaN, at most 64 levels. Only strict_json.cpp knows the parser, nlohmann::json.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace crosstune::core {

struct Json;
struct JsonMember;
using JsonArray = std::vector<Json>;
using JsonObject = std::vector<JsonMember>;  // sorted by key; find() looks one up

struct Json {
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, JsonArray, JsonObject> value = nullptr;

  template <typename T>
  const T* as() const noexcept {
    return std::get_if<T>(&value);
  }
  bool is_null() const noexcept { return std::holds_alternative<std::nullptr_t>(value); }
};

struct JsonMember {
  std::string key;
  Json value;
};

// The value of a key, or null when the object has no such key.
const Json* find(const JsonObject& object, std::string_view key);

// Says why a text is not strict JSON.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws JsonError.
Json parse_json(std::string_view text);

// A string or a number as JSON writes them; the string must be UTF-8.
std::string json_text(std::string_view text);
std::string json_text(double number);

}  // namespace crosstune::core
