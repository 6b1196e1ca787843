#include "bundle/json_reader.hpp"

#include <limits>
#include <utility>

namespace crosstune::core {

std::string describe(const Json& json) {
  if (const auto* text = json.as<std::string>()) return text->size() <= 60 ? json_text(*text) : "a long string";
  if (const auto* flag = json.as<bool>()) return *flag ? "true" : "false";
  if (const auto* integer = json.as<std::int64_t>()) return std::to_string(*integer);
  if (const auto* number = json.as<double>()) return json_text(*number);
  if (json.as<JsonArray>()) return "an array";
  return json.is_null() ? "null" : "an object";
}

JsonReader::JsonReader(std::string where, const Json& json, std::string path)
    : where_(std::move(where)), path_(std::move(path)), fields_(json.as<JsonObject>()) {
  if (fields_ != nullptr) return;
  const std::string name = path_.empty() ? "" : path_.substr(0, path_.size() - 1) + " is ";
  throw bundle_error(where_ + ": " + name + describe(json) + ", expected an object. Build the bundle again.");
}

Failure JsonReader::field_error(const std::string& key, const std::string& found, const std::string& expected) const {
  return bundle_error(where_ + ": " + path_ + key + " is " + found + ", expected " + expected + ". Build the bundle again.");
}

template <typename T>
const T& JsonReader::get(const std::string& key, const char* expected) const {
  const Json* json = find(*fields_, key);
  if (json == nullptr) throw field_error(key, "nothing", expected);
  const T* value = json->as<T>();
  if (value == nullptr) throw field_error(key, describe(*json), expected);
  return *value;
}

const std::string& JsonReader::string(const std::string& key) const { return get<std::string>(key, "a string"); }
bool JsonReader::boolean(const std::string& key) const { return get<bool>(key, "true or false"); }
const JsonArray& JsonReader::array(const std::string& key) const { return get<JsonArray>(key, "an array"); }
const JsonObject& JsonReader::object(const std::string& key) const { return get<JsonObject>(key, "an object"); }

std::int64_t JsonReader::integer(const std::string& key, std::int64_t low, std::int64_t high) const {
  const std::string expected = "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  const auto value = get<std::int64_t>(key, expected.c_str());
  if (value < low || value > high) throw field_error(key, std::to_string(value), expected);
  return value;
}

namespace {

bool read_number(const Json& json, double* number) {
  if (const auto* integer = json.as<std::int64_t>()) return *number = static_cast<double>(*integer), true;
  if (const auto* real = json.as<double>()) return *number = *real, true;
  return false;
}

}  // namespace

double JsonReader::number(const std::string& key) const {
  double value = 0;
  const Json* json = optional(key);
  if (json == nullptr || !read_number(*json, &value)) throw field_error(key, json ? describe(*json) : "nothing", "a number");
  return value;
}

std::vector<double> JsonReader::numbers(const std::string& key) const {
  std::vector<double> values;
  for (const Json& json : array(key)) {
    if (!read_number(json, &values.emplace_back())) throw field_error(key, "an array with " + describe(json), "numbers");
  }
  return values;
}

std::vector<std::int32_t> JsonReader::ids(const std::string& key) const {
  std::vector<std::int32_t> values;
  for (const Json& json : array(key)) {
    const auto* id = json.as<std::int64_t>();
    if (id == nullptr || *id < 0 || *id > std::numeric_limits<std::int32_t>::max())
      throw field_error(key, "an array with " + describe(json), "an array of ids");
    values.push_back(static_cast<std::int32_t>(*id));
  }
  return values;
}

std::vector<std::string> JsonReader::strings(const std::string& key) const {
  std::vector<std::string> values;
  for (const Json& json : array(key)) {
    const auto* text = json.as<std::string>();
    if (text == nullptr) throw field_error(key, "an array with " + describe(json), "an array of strings");
    values.push_back(*text);
  }
  return values;
}

JsonReader JsonReader::child(const std::string& key) const {
  const Json* json = find(*fields_, key);
  if (json == nullptr) throw field_error(key, "nothing", "an object");
  return JsonReader(where_, *json, path_ + key + ".");
}

JsonReader JsonReader::item(const std::string& key, std::size_t index) const {
  return JsonReader(where_, array(key).at(index), path_ + key + "[" + std::to_string(index) + "].");
}

const Json* JsonReader::optional(const std::string& key) const {
  const Json* json = find(*fields_, key);
  return json == nullptr || json->is_null() ? nullptr : json;
}

}  // namespace crosstune::core
