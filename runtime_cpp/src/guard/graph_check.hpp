// Refuses a graph that no build writes, before onnxruntime sees a byte of it. A graph is a program: onnxruntime opens other
// files for some of them, runs loops, and loads code by name, and a right digest does not say who wrote it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bundle/manifest.hpp"

namespace crosstune::core {

// Reads a whole ONNX file and refuses it unless it is one that a build can have written, with the words of the Python runtime.
// Returns the rows of the table that input_ids pick from: every id must be below. Throws Failure (CROSSTUNE_BUNDLE).
std::uint64_t check_graph(std::string_view model, const GraphFacts& facts, const std::string& where);

}  // namespace crosstune::core
