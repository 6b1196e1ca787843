// Classifies texts of arbitrary bytes in many threads, which share one classifier and also load their local. Run it with sanitizers.
//
//   crosstune-stress BUNDLE THREADS ROUNDS
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "crosstune.hpp"

namespace {

std::vector<std::string> texts() {
  std::mt19937 random(7);
  std::vector<std::string> all = {"", "where is my parcel", "[CLS] [SEP]", std::string(300, 'a'), "a b",
                                  "\xff\xfe", "caf\u00e9 \u5546\u54c1 \U0001F600 \u1d165\u0301", std::string(70000, ' ')};
  for (int i = 0; i < 40; ++i) {
    std::string text;
    for (auto length = random() % 200; length > 0; --length) {
      const auto byte = random() % 256;  // without control characters, which are refused
      text += byte < 32 || byte == 127 || byte == 0xc2 ? ' ' : static_cast<char>(byte);
    }
    all.push_back(text);
  }
  return all;
}

bool same(const crosstune::Prediction& a, const crosstune::Prediction& b) {
  return a.label == b.label && a.probs == b.probs && a.truncated == b.truncated;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return CROSSTUNE_USAGE;
  const std::string bundle = argv[1];
  const int threads = std::atoi(argv[2]), rounds = std::atoi(argv[3]);
  const std::vector<std::string> inputs = texts();
  const crosstune::Classifier shared(bundle);
  std::vector<crosstune::Prediction> expected;
  for (const std::string& text : inputs) expected.push_back(shared.classify(text));

  std::atomic<long> wrong{0}, answers{0};
  const auto work = [&] {
    for (int round = 0; round < rounds; ++round) {
      const crosstune::Classifier local(bundle);
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        wrong += !same(shared.classify(inputs[i]), expected[i]) + !same(local.classify(inputs[i]), expected[i]);
        answers += 2;
      }
      wrong += local.selftest().wrong_ids != 0;
      try {
        crosstune::Classifier(bundle + "-none");
        ++wrong;
      } catch (const crosstune::Error& error) {
        wrong += error.status() != CROSSTUNE_BUNDLE;
      }
    }
  };
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  for (std::thread& thread : workers) thread.join();
  std::printf("%ld answers, %ld wrong\n", answers.load(), wrong.load());
  return wrong == 0 ? 0 : 1;
}
