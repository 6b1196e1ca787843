// manifest.json: its digest and its fields, as docs/bundle_format.md has them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crosstune::core {

struct FileLimit {
  const char* name;
  std::uint64_t max_bytes;
};

inline constexpr char kManifestName[] = "manifest.json";
inline constexpr char kModelName[] = "model.onnx";
inline constexpr char kTokenizerName[] = "tokenizer.json";
inline constexpr char kSelftestName[] = "selftest.json";
inline constexpr char kCardName[] = "README.md";

// The files of a bundle, in the order of their names, and the size above which each is refused unread.
inline constexpr std::array<FileLimit, 5> kFiles = {{
    {kCardName, std::uint64_t{1} << 20},
    {kManifestName, std::uint64_t{16} << 20},
    {kModelName, (std::uint64_t{2} << 30) - 1},
    {kSelftestName, std::uint64_t{16} << 20},
    {kTokenizerName, std::uint64_t{64} << 20},
}};

// The limit of one of these files.
std::uint64_t max_bytes_of(std::string_view name);

// How ids are laid out around a text.
struct TokenLayout {
  std::size_t max_length_tokens;  // special ids included
  std::vector<std::int32_t> prefix_ids, infix_ids, suffix_ids;
  std::int32_t pad_id;            // one text a call needs no padding
  std::size_t max_text_bytes;     // a longer text is cut before it is tokenized
  std::int64_t second_type_id;
};

struct GraphFacts {
  std::vector<std::string> inputs;   // input_ids, attention_mask and perhaps token_type_ids
  std::vector<std::string> outputs;  // probs, text_vector and perhaps scope
  std::int64_t opset, ir_version;
  std::string min_onnxruntime;
  std::vector<std::string> disabled_optimizers;
  std::int64_t text_vector_size;

  bool has_scope() const { return outputs.size() == 3; }
};

struct FileEntry {
  std::string sha256;
  std::uint64_t size_bytes;
};

struct Manifest {
  std::string digest;
  std::vector<std::string> labels;
  bool text_pair;
  TokenLayout tokens;
  GraphFacts graph;
  std::optional<double> threshold, scope_threshold;
  std::map<std::string, FileEntry> files;  // the four others, by name
};

// Checks the digest, then reads. `where` names the file in messages. Throws Failure (CROSSTUNE_BUNDLE).
Manifest parse_manifest(std::string_view bytes, const std::string& where);

}  // namespace crosstune::core
