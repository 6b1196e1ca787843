// Does memory grow? Many classifications of random length; a JSON line of resident memory at each tenth.
//
//   crosstune-soak BUNDLE COUNT
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "crosstune.hpp"
#include "process_memory.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return CROSSTUNE_USAGE;
  const long count = std::atol(argv[2]), settled = count / 100;
  try {
    const crosstune::Classifier classifier(argv[1]);
    std::mt19937 source(1);
    long truncated = 0, before = 0;
    for (long i = 1; i <= count; ++i) {
      std::string text;
      for (auto words = source() % 60; words > 0; --words) {
        for (auto letters = 1 + source() % 9; letters > 0; --letters) text += static_cast<char>('a' + source() % 26);
        text += ' ';
      }
      truncated += classifier.classify(text).truncated;
      if (i == settled) before = crosstune::bench::memory_bytes("VmRSS:");
      if (i == settled || i % (count / 10) == 0) {
        const long now = crosstune::bench::memory_bytes("VmRSS:");
        std::printf("{\"classifications\": %ld, \"truncated\": %ld, \"rss_bytes\": %ld, \"growth_bytes\": %ld}\n", i,
                    truncated, now, now - before);
        std::fflush(stdout);
      }
    }
  } catch (const crosstune::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.status();
  }
}
