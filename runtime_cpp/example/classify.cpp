// A complete program with libcrosstune. It classifies the lines of standard input.
//
//   ./classify support.bundle < texts.txt
#include <crosstune.hpp>

#include <cstdio>
#include <iostream>
#include <string>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: classify BUNDLE < TEXTS\n";
    return CROSSTUNE_USAGE;
  }
  try {
    // Loading checks every byte of the bundle. Load once and share `classifier` between threads.
    const crosstune::Classifier classifier(argv[1]);

    std::string line;
    while (std::getline(std::cin, line)) {
      const crosstune::Prediction answer = classifier.classify(line);
      std::printf("%s\t%.4f\n", answer.label.value_or("(none)").c_str(), double{answer.prob});
    }
    return CROSSTUNE_OK;
  } catch (const crosstune::Error& error) {
    std::cerr << error.what() << "\n";  // one line that says what to do next
    return error.status();
  }
}
