// Measures what libcrosstune costs in addition to onnxruntime, in alternating calls on the same token ids.
//
//   crosstune-speed BUNDLE TEXTS ROUNDS
//
// TEXTS has one text per line. For each text, ROUNDS times: Classifier::classify, and OrtApi::Run alone on existing tensors.
// With 0 rounds, measures the tokenizer on all texts. Prints JSON lines.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle_files.hpp"
#include "error.hpp"
#include "process_memory.hpp"
#include "run/classifier.hpp"
#include "run/onnxruntime.hpp"
#include "run/session.hpp"
#include "tokenize/token_row.hpp"
#include "tokenize/read_tokenizer.hpp"

namespace {

using namespace crosstune::core;

// The processor time of this thread, which does all the work. Unlike wall time, it excludes other programs.
double processor_us() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e6 * static_cast<double>(now.tv_sec) + 1e-3 * static_cast<double>(now.tv_nsec);
}

double wall_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

void measure_latency(const Classifier& classifier, const std::string& text, int rounds) {
  const std::size_t labels = classifier.manifest().labels.size();
  const crosstune_text input{text.data(), text.size(), nullptr, 0};
  const TokenRow row = classifier.tokenize(input);
  std::vector<float> probs(labels);
  float similarity = 0;
  const PreparedRun run(classifier.session(), row, probs.data(), &similarity);
  std::vector<double> crosstune_us, onnxruntime_us, differences;
  for (int round = -rounds / 10; round < rounds; ++round) {
    double times[2];
    for (const int which : {round & 1, 1 - (round & 1)}) {  // each is first equally often
      const double start = processor_us();
      if (which == 0) classifier.classify(input, probs.data());
      else run.run();
      times[which] = processor_us() - start;
    }
    if (round < 0) continue;  // warm-up
    crosstune_us.push_back(times[0]);
    onnxruntime_us.push_back(times[1]);
    differences.push_back(times[0] - times[1]);
  }
  std::printf(
      "{\"tokens\": %zu, \"bytes\": %zu, \"rounds\": %d, \"crosstune_p50_us\": %.1f, \"onnxruntime_p50_us\": %.1f, "
      "\"median_of_differences_us\": %.1f, \"crosstune_p90_us\": %.1f, \"onnxruntime_p90_us\": %.1f}\n",
      row.ids.size(), text.size(), rounds, quantile(crosstune_us, 0.5), quantile(onnxruntime_us, 0.5), quantile(differences, 0.5),
      quantile(crosstune_us, 0.9), quantile(onnxruntime_us, 0.9));
}

void measure_tokenizer(const std::string& bundle, const std::vector<std::string>& texts) {
  const BundleFiles files = read_bundle(bundle);
  const auto tokenizer = read_tokenizer(files.tokenizer.view(), files.where(kTokenizerName));
  std::string all;
  for (const std::string& text : texts) all += text + "\n";
  std::vector<double> rates;
  std::size_t ids_count = 0;
  for (int round = 0; round < 15; ++round) {
    const std::size_t repeats = 1 + 20'000'000 / 15 / (all.size() + 1);
    const double start = processor_us();
    for (std::size_t i = 0; i < repeats; ++i) {
      for (const std::string& text : texts) {
        std::vector<std::int32_t> ids;
        tokenizer->append_ids(text, text.size(), &ids);
        ids_count += ids.size();
      }
    }
    rates.push_back(static_cast<double>(repeats * all.size()) / (processor_us() - start));
  }
  std::printf("{\"tokenizer_mb_per_s\": %.1f, \"texts\": %zu, \"bytes\": %zu, \"ids\": %zu}\n", quantile(rates, 0.5),
              texts.size(), all.size(), ids_count);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return CROSSTUNE_USAGE;
  try {
    const double wall = wall_us(), processor = processor_us();
    const Classifier classifier(argv[1], {});
    std::vector<float> probs(classifier.manifest().labels.size());
    const std::string first = "where is my parcel";
    classifier.classify({first.data(), first.size(), nullptr, 0}, probs.data());
    std::printf(
        "{\"load_and_first_answer_ms\": %.1f, \"processor_ms\": %.1f, \"rss_bytes\": %lld, \"peak_rss_bytes\": %lld, "
        "\"onnxruntime\": \"%s\"}\n",
        (wall_us() - wall) / 1000, (processor_us() - processor) / 1000,
        static_cast<long long>(crosstune::bench::memory_bytes("VmRSS:")),
        static_cast<long long>(crosstune::bench::memory_bytes("VmHWM:")), classifier.onnxruntime().version.c_str());
    std::ifstream file(argv[2]);
    std::vector<std::string> texts;
    for (std::string line; std::getline(file, line);) texts.push_back(line);
    const int rounds = std::atoi(argv[3]);
    if (rounds > 0)
      for (const std::string& text : texts) measure_latency(classifier, text, rounds);
    else if (!texts.empty()) measure_tokenizer(argv[1], texts);
  } catch (const Failure& failure) {
    std::fprintf(stderr, "error: %s\n", failure.what());
    return failure.status;
  }
}
