#include "manifest.hpp"

#include <cmath>
#include <limits>
#include <set>

#include "error.hpp"
#include "json_reader.hpp"
#include "sha256.hpp"

namespace crosstune::core {
namespace {

constexpr std::string_view kDigestHead = "{\n  \"digest\": \"";
constexpr std::size_t kDigits = 64;

std::string checked_digest(std::string_view bytes, const std::string& where) {
  if (bytes.size() >= kDigestHead.size() + kDigits && bytes.substr(0, kDigestHead.size()) == kDigestHead) {
    std::string unsigned_bytes(bytes);
    unsigned_bytes.replace(kDigestHead.size(), kDigits, kDigits, '0');
    std::string digest = sha256_hex(unsigned_bytes);
    if (bytes.substr(kDigestHead.size(), kDigits) == digest) return digest;
  }
  throw refused(where +
                ": the digest does not match the bytes, expected them as they were built. Copy or build the bundle again.");
}

bool is_hex64(const std::string& text) {
  return text.size() == kDigits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::vector<std::string> read_labels(const JsonReader& reader) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  const std::size_t count = reader.array("labels").size();
  if (count < 2) throw reader.bad("labels", "an array of " + std::to_string(count), "an array of at least 2 labels");
  for (std::size_t i = 0; i < count; ++i) {
    const JsonReader label = reader.item("labels", i);
    const std::string& name = label.text("name");
    if (label.texts("descriptions").empty()) throw label.bad("descriptions", "empty", "at least one sentence");
    if (name.find('\0') != std::string::npos) throw label.bad("name", json_text(name), "a name without NUL");
    if (!seen.insert(name).second) throw reader.bad("labels", "a list with one name twice", "distinct names");
    names.push_back(name);
  }
  return names;
}

TokenLayout read_tokens(const JsonReader& reader) {
  TokenLayout layout;
  layout.max_length_tokens = static_cast<std::size_t>(reader.integer("max_length_tokens", 8, 1 << 20));
  layout.prefix_ids = reader.ids("prefix_ids");
  layout.infix_ids = reader.ids("infix_ids");
  layout.suffix_ids = reader.ids("suffix_ids");
  reader.integer("pad_id", 0, std::numeric_limits<std::int32_t>::max());  // one text a call needs no padding
  layout.max_text_bytes = static_cast<std::size_t>(reader.integer("max_text_bytes", 1024, 1 << 30));
  layout.second_type_id = reader.integer("second_type_id", 0, 255);
  const std::size_t special = layout.prefix_ids.size() + layout.infix_ids.size() + layout.suffix_ids.size();
  if (special + 2 > layout.max_length_tokens) {
    throw reader.bad("max_length_tokens", std::to_string(layout.max_length_tokens),
                     "more than the " + std::to_string(special) + " special ids");
  }
  return layout;
}

// onnxruntime has settings that write or read files of any name; a bundle must not reach for them.
bool names_files(const std::string& key) {
  for (const char* part : {"file", "folder", "path", "profil", "library"})
    if (key.find(part) != std::string::npos) return true;
  return false;
}

std::map<std::string, std::string> read_session_config(const JsonReader& reader) {
  std::map<std::string, std::string> entries;
  if (reader.optional("session_config") == nullptr) return entries;
  const JsonReader config = reader.inner("session_config");
  for (const auto& [key, _] : reader.object("session_config")) {
    if (names_files(key)) throw config.bad(key, "a setting about files", "only settings that touch none");
    entries[key] = config.text(key);
  }
  return entries;
}

GraphFacts read_graph(const JsonReader& reader) {
  using Texts = std::vector<std::string>;
  GraphFacts facts;
  facts.inputs = reader.texts("inputs");
  facts.outputs = reader.texts("outputs");
  facts.opset = reader.integer("opset", 1, 1000);
  facts.ir_version = reader.integer("ir_version", 1, 1000);
  facts.min_onnxruntime = reader.text("min_onnxruntime");
  facts.disabled_optimizers = reader.texts("disabled_optimizers");
  facts.session_config = read_session_config(reader);
  reader.integer("text_vector_size", 1, 1 << 24);
  if (facts.inputs != Texts{"input_ids", "attention_mask"} &&
      facts.inputs != Texts{"input_ids", "attention_mask", "token_type_ids"})
    throw reader.bad("inputs", "something else", "input_ids, attention_mask and at most token_type_ids");
  if (facts.outputs != Texts{"probs", "text_vector"} && facts.outputs != Texts{"probs", "text_vector", "scope"})
    throw reader.bad("outputs", "something else", "probs, text_vector and at most scope");
  const std::string& precision = reader.text("precision");
  if (precision != "fp32" && precision != "int8") throw reader.bad("precision", json_text(precision), "fp32 or int8");
  return facts;
}

std::optional<double> read_limit(const JsonReader& reader, const std::string& key, double low, double high,
                                 const char* expected) {
  const Json* json = reader.optional(key);
  if (json == nullptr) return std::nullopt;
  if (json->as<double>() == nullptr && json->as<std::int64_t>() == nullptr)
    throw reader.bad(key, describe(*json), expected);
  const double value = reader.number(key);
  if (!(value >= low && value <= high)) throw reader.bad(key, describe(*json), expected);
  return value;
}

std::map<std::string, FileEntry> read_files(const JsonReader& reader) {
  std::map<std::string, FileEntry> entries;
  const JsonReader files = reader.inner("files");
  if (reader.object("files").size() != kFiles.size() - 1)
    throw reader.bad("files", std::to_string(reader.object("files").size()) + " files", "the four other files");
  for (const auto& [name, max_bytes] : kFiles) {
    if (name == std::string_view(kManifestName)) continue;
    const JsonReader file = files.inner(name);
    const std::string& sha256 = file.text("sha256");
    if (!is_hex64(sha256)) throw file.bad("sha256", json_text(sha256), "64 lowercase hexadecimal digits");
    const auto size = file.integer("size_bytes", 0, static_cast<std::int64_t>(max_bytes));
    entries[name] = {sha256, static_cast<std::uint64_t>(size)};
  }
  return entries;
}

}  // namespace

std::uint64_t max_bytes_of(std::string_view name) {
  for (const FileLimit& file : kFiles)
    if (file.name == name) return file.max_bytes;
  throw Failure(CROSSTUNE_BUG, std::string(name) + ": no file of a bundle, expected one.");
}

Manifest parse_manifest(std::string_view bytes, const std::string& where) {
  Manifest manifest;
  manifest.digest = checked_digest(bytes, where);
  Json json;
  try {
    json = parse_json(bytes);
  } catch (const JsonError& error) {
    throw refused(where + ": not valid JSON (" + error.what() + "). Build the bundle again.");
  }
  const JsonReader reader(where, json);
  if (reader.text("format") != "crosstune-bundle") {
    throw refused(where + ": format is " + json_text(reader.text("format")) +
                  ", expected \"crosstune-bundle\". Give a folder that crosstune-export built.");
  }
  const std::string& version = reader.text("format_version");
  if (version.substr(0, version.find('.')) != "1") {
    throw refused(where + ": bundle format " + version + ", this library knows 1. Upgrade libcrosstune.");
  }
  manifest.labels = read_labels(reader);
  manifest.text_pair = reader.boolean("text_pair");
  manifest.tokens = read_tokens(reader.inner("tokens"));
  manifest.graph = read_graph(reader.inner("graph"));
  const JsonReader decision = reader.inner("decision");
  manifest.threshold = read_limit(decision, "threshold", 0, 1, "a probability or null");
  const double huge = std::numeric_limits<double>::max();
  manifest.scope_threshold = read_limit(decision, "scope_threshold", -huge, huge, "a number or null");
  if (manifest.scope_threshold && !manifest.graph.has_scope())
    throw decision.bad("scope_threshold", "a number", "null, as the graph gives no scope");
  manifest.files = read_files(reader);
  return manifest;
}

}  // namespace crosstune::core
