// Checks a graph before onnxruntime loads it. A graph is a program: it can open other files, run loops and load code by name,
// and a valid digest does not tell who wrote it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bundle/manifest.hpp"

namespace crosstune::core {

// Refuses an ONNX file unless the build can have written it. The messages are those of the Python runtime. Returns the
// number of rows of the word embeddings: every token id must be smaller. `longest` is the largest number of tokens of a text,
// for what a run may take. Throws Failure (CROSSTUNE_BUNDLE).
std::uint64_t check_graph(std::string_view model, const GraphFacts& facts, const std::string& where, std::size_t longest);

}  // namespace crosstune::core
