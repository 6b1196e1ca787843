// Typed access to the fields of one JSON object of a bundle; every message has the path of the field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "error.hpp"
#include "bundle/json.hpp"

namespace crosstune::core {

class JsonReader {
 public:
  // `json` must outlive the reader. `where` names the file, `path` the object within it ("" or "tokens.").
  // Throws Failure when `json` is not an object.
  JsonReader(std::string where, const Json& json, std::string path = "");

  // Each throws Failure when the field is missing, of another type or out of range.
  const std::string& text(const std::string& key) const;
  bool boolean(const std::string& key) const;
  std::int64_t integer(const std::string& key, std::int64_t low, std::int64_t high) const;
  double number(const std::string& key) const;
  std::vector<std::int32_t> ids(const std::string& key) const;  // each from 0 to 2^31 - 1
  std::vector<double> numbers(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;
  const JsonArray& array(const std::string& key) const;
  const JsonObject& object(const std::string& key) const;
  JsonReader inner(const std::string& key) const;
  JsonReader item(const std::string& key, std::size_t index) const;

  // Whether the field is there, if only as null.
  bool has(const std::string& key) const { return find(*fields_, key) != nullptr; }

  // The field, or nothing where it is missing or null.
  const Json* optional(const std::string& key) const;

  Failure bad(const std::string& key, const std::string& found, const std::string& expected) const;
  const std::string& where() const { return where_; }

 private:
  template <typename T>
  const T& get(const std::string& key, const char* expected) const;

  std::string where_, path_;
  const JsonObject* fields_;
};

// What a message says was found in the place of something else: the value where it is short, else its kind.
std::string describe(const Json& json);

}  // namespace crosstune::core
