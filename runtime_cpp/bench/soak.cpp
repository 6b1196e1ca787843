// Checks for memory leaks: classifies COUNT random texts and prints the resident memory after each tenth, as JSON lines.
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
  const long count = std::atol(argv[2]), warm_up = count / 100;
  try {
    const crosstune::Classifier classifier(argv[1]);
    std::mt19937 random(1);
    long truncated = 0, baseline = 0;
    for (long i = 1; i <= count; ++i) {
      std::string text;
      for (auto words = random() % 60; words > 0; --words) {
        for (auto letters = 1 + random() % 9; letters > 0; --letters) text += static_cast<char>('a' + random() % 26);
        text += ' ';
      }
      truncated += classifier.classify(text).truncated;
      if (i == warm_up) baseline = crosstune::bench::memory_bytes("VmRSS:");
      if (i == warm_up || i % (count / 10) == 0) {
        const long now = crosstune::bench::memory_bytes("VmRSS:");
        std::printf("{\"classifications\": %ld, \"truncated\": %ld, \"rss_bytes\": %ld, \"growth_bytes\": %ld}\n", i,
                    truncated, now, now - baseline);
        std::fflush(stdout);
      }
    }
  } catch (const crosstune::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.status();
  }
}
