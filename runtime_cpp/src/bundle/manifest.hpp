// manifest.json: its digest and its fields. docs/bundle_format.md is the specification.
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

// The files of a bundle by name, and the largest size that is read.
inline constexpr std::array<FileLimit, 5> kFiles = {{
    {kCardName, std::uint64_t{1} << 20},
    {kManifestName, std::uint64_t{16} << 20},
    {kModelName, (std::uint64_t{2} << 30) - 1},
    {kSelftestName, std::uint64_t{16} << 20},
    {kTokenizerName, std::uint64_t{64} << 20},
}};

// The size limit of one of these files.
std::uint64_t max_bytes_of(std::string_view name);

// How a row of token ids is built around a text.
struct TokenLayout {
  std::size_t max_length_tokens;  // special ids included
  std::vector<std::int32_t> prefix_ids, infix_ids, suffix_ids;
  std::int32_t pad_id;            // unused: each call runs one text, without padding
  std::size_t max_text_bytes;     // a longer text is truncated before it is tokenized
  std::int64_t second_type_id;
};

struct GraphFacts {
  std::vector<std::string> inputs;   // input_ids, attention_mask, optionally token_type_ids
  std::vector<std::string> outputs;  // probs, text_vector, optionally scope
  std::int64_t opset, ir_version;
  std::string min_onnxruntime;
  std::string precision;  // fp32, fp16 or int8
  std::vector<std::string> disabled_optimizers;
  std::int64_t text_vector_size;
  bool has_function = false;  // the graph is one call of the function that the fast kernels replace

  bool has_similarity() const { return outputs.size() == 3; }
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
  std::optional<double> threshold, min_similarity;
  std::map<std::string, FileEntry> files;  // the other four files, by name
};

// Verifies the digest, then parses. `where` names the file in messages. Throws Failure (CROSSTUNE_BUNDLE).
Manifest parse_manifest(std::string_view bytes, const std::string& where);

}  // namespace crosstune::core
