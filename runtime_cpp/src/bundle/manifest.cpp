#include "bundle/manifest.hpp"

#include <limits>
#include <set>

#include "bundle/json_reader.hpp"
#include "bundle/sha256.hpp"
#include "error.hpp"

namespace crosstune::core {
namespace {

constexpr std::string_view kDigestPrefix = "{\n  \"digest\": \"";
constexpr std::size_t kDigestLength = 64;

std::string verify_digest(std::string_view bytes, const std::string& where) {
  if (bytes.size() >= kDigestPrefix.size() + kDigestLength && bytes.substr(0, kDigestPrefix.size()) == kDigestPrefix) {
    std::string unsigned_bytes(bytes);
    unsigned_bytes.replace(kDigestPrefix.size(), kDigestLength, kDigestLength, '0');
    std::string digest = sha256_hex(unsigned_bytes);
    if (bytes.substr(kDigestPrefix.size(), kDigestLength) == digest) return digest;
  }
  throw bundle_error(where +
                     ": the digest does not match the contents, expected the file as it was built. Copy or build the bundle again.");
}

bool is_hex64(const std::string& text) {
  return text.size() == kDigestLength && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::vector<std::string> read_labels(const JsonReader& reader) {
  std::vector<std::string> names;
  std::set<std::string> unique_names;
  const std::size_t count = reader.array("labels").size();
  if (count < 2) throw reader.field_error("labels", "an array of " + std::to_string(count), "an array of at least 2 labels");
  for (std::size_t i = 0; i < count; ++i) {
    const JsonReader label = reader.item("labels", i);
    const std::string& name = label.string("name");
    if (label.strings("descriptions").empty()) throw label.field_error("descriptions", "empty", "at least one sentence");
    if (name.find('\0') != std::string::npos) throw label.field_error("name", json_text(name), "a name without NUL");
    if (!unique_names.insert(name).second) throw reader.field_error("labels", "a list with a duplicate name", "distinct names");
    names.push_back(name);
  }
  return names;
}

TokenLayout read_token_layout(const JsonReader& reader) {
  TokenLayout layout;
  layout.max_length_tokens = static_cast<std::size_t>(reader.integer("max_length_tokens", 8, 1 << 20));
  layout.prefix_ids = reader.ids("prefix_ids");
  layout.infix_ids = reader.ids("infix_ids");
  layout.suffix_ids = reader.ids("suffix_ids");
  layout.pad_id = static_cast<std::int32_t>(reader.integer("pad_id", 0, std::numeric_limits<std::int32_t>::max()));
  layout.max_text_bytes = static_cast<std::size_t>(reader.integer("max_text_bytes", 1024, 1 << 30));
  layout.second_type_id = reader.integer("second_type_id", 0, 255);
  const std::size_t special = layout.prefix_ids.size() + layout.infix_ids.size() + layout.suffix_ids.size();
  if (special + 2 > layout.max_length_tokens) {
    throw reader.field_error("max_length_tokens", std::to_string(layout.max_length_tokens),
                     "more than the " + std::to_string(special) + " special ids");
  }
  return layout;
}

// Two or three numbers of at most four digits, such as 1.20.0.
bool is_release(const std::string& text) {
  std::size_t digits = 0, dots = 0;
  for (const char c : text) {
    if (c == '.') {
      if (digits == 0) return false;
      digits = 0;
      ++dots;
    } else if (c < '0' || c > '9' || ++digits > 4) {
      return false;
    }
  }
  return digits > 0 && (dots == 1 || dots == 2);
}

GraphFacts read_graph_facts(const JsonReader& reader) {
  using Names = std::vector<std::string>;
  GraphFacts facts;
  facts.inputs = reader.strings("inputs");
  facts.outputs = reader.strings("outputs");
  facts.opset = reader.integer("opset", 1, 1000);
  facts.ir_version = reader.integer("ir_version", 1, 1000);
  facts.min_onnxruntime = reader.string("min_onnxruntime");
  if (!is_release(facts.min_onnxruntime)) {
    throw reader.field_error("min_onnxruntime", "something else", "a version such as 1.20.0");
  }
  facts.disabled_optimizers = reader.strings("disabled_optimizers");
  facts.text_vector_size = reader.integer("text_vector_size", 1, 1 << 24);
  facts.has_function = reader.has("function");
  if (facts.has_function && reader.string("function") != "Classify")
    throw reader.field_error("function", "something else", "Classify");
  if (facts.inputs != Names{"input_ids", "attention_mask"} &&
      facts.inputs != Names{"input_ids", "attention_mask", "token_type_ids"})
    throw reader.field_error("inputs", "something else", "input_ids, attention_mask and optionally token_type_ids");
  if (facts.outputs != Names{"probs", "text_vector"} && facts.outputs != Names{"probs", "text_vector", "scope"})
    throw reader.field_error("outputs", "something else", "probs, text_vector and optionally scope");
  facts.precision = reader.string("precision");
  if (facts.precision != "fp32" && facts.precision != "fp16" && facts.precision != "int8")
    throw reader.field_error("precision", json_text(facts.precision), "fp32 or fp16 or int8");
  return facts;
}

std::optional<double> read_threshold(const JsonReader& reader, const std::string& key, int low) {
  const Json* json = reader.optional(key);
  if (json == nullptr) return std::nullopt;
  const bool is_number = json->as<double>() != nullptr || json->as<std::int64_t>() != nullptr;
  if (!is_number || !(reader.number(key) >= low && reader.number(key) <= 1))
    throw reader.field_error(key, describe(*json), "a number from " + std::to_string(low) + " to 1 or null");
  return reader.number(key);
}

// Checks the fields that only people and tools read; none of them is kept.
void check_informational_fields(const JsonReader& reader) {
  reader.string("name");
  const JsonReader producer = reader.child("producer");
  for (const auto& [tool, _] : reader.object("producer")) producer.string(tool);
  for (const char* key : {"backbone", "head", "training", "quality"}) reader.object(key);
  if (reader.has("release")) reader.integer("release", 0, std::numeric_limits<std::int32_t>::max());
}

// Whether a string has the form "major.minor".
bool is_version(std::string_view text) {
  const auto are_digits = [](std::string_view part) {
    return !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const std::size_t dot = text.find('.');
  return dot != std::string_view::npos && are_digits(text.substr(0, dot)) && are_digits(text.substr(dot + 1));
}

std::map<std::string, FileEntry> read_files(const JsonReader& reader) {
  std::map<std::string, FileEntry> entries;
  const JsonReader files = reader.child("files");
  if (reader.object("files").size() != kFiles.size() - 1)
    throw reader.field_error("files", std::to_string(reader.object("files").size()) + " files", "the other four files");
  for (const auto& [name, max_bytes] : kFiles) {
    if (name == std::string_view(kManifestName)) continue;
    const JsonReader file = files.child(name);
    const std::string& sha256 = file.string("sha256");
    if (!is_hex64(sha256)) throw file.field_error("sha256", json_text(sha256), "64 lowercase hexadecimal digits");
    const auto size = file.integer("size_bytes", 0, static_cast<std::int64_t>(max_bytes));
    entries[name] = {sha256, static_cast<std::uint64_t>(size)};
  }
  return entries;
}

}  // namespace

std::uint64_t max_bytes_of(std::string_view name) {
  for (const FileLimit& file : kFiles)
    if (file.name == name) return file.max_bytes;
  throw Failure(CROSSTUNE_BUG, std::string(name) + ": found another name, expected a file of a bundle.");
}

Manifest parse_manifest(std::string_view bytes, const std::string& where) {
  Manifest manifest;
  manifest.digest = verify_digest(bytes, where);
  Json json;
  try {
    json = parse_json(bytes);
  } catch (const JsonError& error) {
    throw bundle_error(where + ": not valid JSON (" + error.what() + "). Build the bundle again.");
  }
  const JsonReader reader(where, json);
  if (reader.string("format") != "crosstune-bundle") {
    throw bundle_error(where + ": format is " + json_text(reader.string("format")) +
                       ", expected \"crosstune-bundle\". Give a folder that crosstune-export built.");
  }
  const std::string& version = reader.string("format_version");
  if (!is_version(version)) throw reader.field_error("format_version", json_text(version), "a string \"major.minor\"");
  if (version.substr(0, version.find('.')) != "1") {
    throw bundle_error(where + ": bundle format " + version + ", this library knows 1. Upgrade libcrosstune.");
  }
  manifest.labels = read_labels(reader);
  manifest.text_pair = reader.boolean("text_pair");
  manifest.tokens = read_token_layout(reader.child("tokens"));
  manifest.graph = read_graph_facts(reader.child("graph"));
  if (manifest.graph.inputs.size() > 2 && !manifest.text_pair)
    throw reader.field_error("graph.inputs", "a list with token_type_ids", "no token_type_ids where text_pair is false");
  const JsonReader decision = reader.child("decision");
  if (!decision.has("threshold")) throw decision.field_error("threshold", "nothing", "a number from 0 to 1 or null");
  manifest.threshold = read_threshold(decision, "threshold", 0);
  manifest.min_similarity = read_threshold(decision, "scope_threshold", -1);
  if (manifest.min_similarity && !manifest.graph.has_similarity())
    throw decision.field_error("scope_threshold", json_text(*manifest.min_similarity), "null where the graph has no output scope");
  check_informational_fields(reader);
  manifest.files = read_files(reader);
  return manifest;
}

}  // namespace crosstune::core
