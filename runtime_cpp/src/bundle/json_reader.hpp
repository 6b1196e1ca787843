// Typed access to the fields of a JSON object in a bundle. Every error names the field by its path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bundle/strict_json.hpp"
#include "error.hpp"

namespace crosstune::core {

class JsonReader {
 public:
  // `json` must outlive the reader. `where` names the file, `path` the object within it ("" or "tokens.").
  // Throws Failure when `json` is not an object.
  JsonReader(std::string where, const Json& json, std::string path = "");

  // Each throws Failure when the field is missing, of another type or out of range.
  const std::string& string(const std::string& key) const;
  bool boolean(const std::string& key) const;
  std::int64_t integer(const std::string& key, std::int64_t low, std::int64_t high) const;
  double number(const std::string& key) const;
  std::vector<std::int32_t> ids(const std::string& key) const;  // each from 0 to 2^31 - 1
  std::vector<double> numbers(const std::string& key) const;
  std::vector<std::string> strings(const std::string& key) const;
  const JsonArray& array(const std::string& key) const;
  const JsonObject& object(const std::string& key) const;

  // A reader for the object in a field, and for one item of an array of objects.
  JsonReader child(const std::string& key) const;
  JsonReader item(const std::string& key, std::size_t index) const;

  // Whether the field exists; its value may be null.
  bool has(const std::string& key) const { return find(*fields_, key) != nullptr; }

  // The field, or nullptr when it is missing or null.
  const Json* optional(const std::string& key) const;

  // The error that a field has a wrong value.
  Failure field_error(const std::string& key, const std::string& found, const std::string& expected) const;
  const std::string& where() const { return where_; }

 private:
  template <typename T>
  const T& get(const std::string& key, const char* expected) const;

  std::string where_, path_;
  const JsonObject* fields_;
};

// A value for a message: itself when it is short, otherwise its kind.
std::string describe(const Json& json);

}  // namespace crosstune::core
