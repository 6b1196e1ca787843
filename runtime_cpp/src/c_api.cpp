// The C ABI: every exception becomes a status and a message here.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "tokenize/characters.hpp"
#include "run/classifier.hpp"
#include "crosstune.h"
#include "error.hpp"
#include "bundle/json.hpp"

using crosstune::core::Classifier;
using crosstune::core::Failure;
using crosstune::core::kMostThreads;
using crosstune::core::LoadOptions;

struct crosstune_options {
  LoadOptions values;
};

struct crosstune_classifier {
  Classifier inner;
};

namespace {

// Not a std::string of its own: saying that memory is short must not need memory.
thread_local char last_error[2048] = "";

crosstune_status failed(crosstune_status status, const char* message) {
  const std::size_t size = std::strlen(message);
  std::size_t end = std::min(size, sizeof last_error - 1);
  while (end < size && end > 0 && (message[end] & 0xC0) == 0x80) --end;  // back to the last whole code point
  std::memcpy(last_error, message, end);
  last_error[end] = '\0';
  return status;
}

template <typename Body>
crosstune_status guarded(const Body& body) noexcept {
  try {
    body();
    return CROSSTUNE_OK;
  } catch (const Failure& failure) {
    return failed(failure.status, failure.what());
  } catch (const std::bad_alloc&) {
    return failed(CROSSTUNE_RESOURCES, "memory: not enough. Use a smaller bundle or shorter texts.");
  } catch (const std::exception& error) {
    return failed(CROSSTUNE_BUG, (std::string("internal error: ") + error.what() + ". Please report it.").c_str());
  } catch (...) {
    return failed(CROSSTUNE_BUG, "internal error: an unknown exception. Please report it.");
  }
}

void expect(bool given, const char* name) {
  if (!given) throw Failure(CROSSTUNE_USAGE, std::string(name) + ": found NULL, expected a pointer.");
}

std::string spelled(double number) {
  return std::isfinite(number) ? crosstune::core::json_text(number) : std::to_string(number);
}

Failure usage(const std::string& message) { return Failure(CROSSTUNE_USAGE, message); }

}  // namespace

const char* crosstune_version(void) { return CROSSTUNE_VERSION; }

const char* crosstune_tokenizer_reference(void) { return crosstune::core::character_reference(); }

const char* crosstune_error(void) { return last_error; }

crosstune_status crosstune_options_create(crosstune_options** options) {
  return guarded([&] {
    expect(options != nullptr, "options");
    *options = nullptr;
    *options = new crosstune_options;
  });
}

void crosstune_options_destroy(crosstune_options* options) { delete options; }

crosstune_status crosstune_options_set_threads(crosstune_options* options, int32_t threads) {
  return guarded([&] {
    expect(options != nullptr, "options");
    if (threads < 1 || threads > kMostThreads)
      throw usage("threads: found " + std::to_string(threads) + ", expected 1 to " + std::to_string(kMostThreads) + ".");
    options->values.threads = threads;
  });
}

crosstune_status crosstune_options_set_onnxruntime(crosstune_options* options, const char* path) {
  return guarded([&] {
    expect(options != nullptr, "options");
    expect(path != nullptr, "path");
    options->values.onnxruntime = path;
  });
}

crosstune_status crosstune_options_set_threshold(crosstune_options* options, double threshold) {
  return guarded([&] {
    expect(options != nullptr, "options");
    if (!(threshold >= 0 && threshold <= 1))
      throw Failure(CROSSTUNE_INPUT, "threshold: found " + spelled(threshold) + ", expected a probability from 0 to 1.");
    options->values.threshold = threshold;
  });
}

crosstune_status crosstune_classifier_create(const char* bundle, const crosstune_options* options,
                                             crosstune_classifier** classifier) {
  return guarded([&] {
    expect(classifier != nullptr, "classifier");
    *classifier = nullptr;
    expect(bundle != nullptr, "bundle");
    *classifier = new crosstune_classifier{{bundle, options == nullptr ? LoadOptions() : options->values}};
  });
}

void crosstune_classifier_destroy(crosstune_classifier* classifier) { delete classifier; }

size_t crosstune_label_count(const crosstune_classifier* classifier) { return classifier->inner.manifest().labels.size(); }

const char* crosstune_label(const crosstune_classifier* classifier, size_t index) {
  const std::vector<std::string>& labels = classifier->inner.manifest().labels;
  return index < labels.size() ? labels[index].c_str() : nullptr;
}

int32_t crosstune_takes_pairs(const crosstune_classifier* classifier) { return classifier->inner.manifest().text_pair; }

size_t crosstune_max_length_tokens(const crosstune_classifier* classifier) {
  return classifier->inner.manifest().tokens.max_length_tokens;
}

const char* crosstune_digest(const crosstune_classifier* classifier) { return classifier->inner.manifest().digest.c_str(); }

const char* crosstune_onnxruntime_version(const crosstune_classifier* classifier) {
  return classifier->inner.onnxruntime().version.c_str();
}

crosstune_status crosstune_classify(const crosstune_classifier* classifier, const crosstune_text* input,
                                    crosstune_answer* answer, float* probs) {
  return guarded([&] {
    expect(classifier != nullptr, "classifier");
    expect(input != nullptr, "input");
    expect(answer != nullptr, "answer");
    std::vector<float> row(classifier->inner.manifest().labels.size());
    *answer = classifier->inner.classify(*input, row.data());
    if (probs != nullptr) std::copy(row.begin(), row.end(), probs);
  });
}

crosstune_status crosstune_tokenize(const crosstune_classifier* classifier, const crosstune_text* input, int64_t* ids,
                                    size_t capacity, size_t* count, int32_t* truncated) {
  return guarded([&] {
    expect(classifier != nullptr, "classifier");
    expect(input != nullptr, "input");
    expect(ids != nullptr, "ids");
    expect(count != nullptr, "count");
    const size_t longest = classifier->inner.manifest().tokens.max_length_tokens;
    if (capacity < longest)
      throw usage("capacity: found " + std::to_string(capacity) + ", expected at least " + std::to_string(longest) + ".");
    const crosstune::core::TokenRow row = classifier->inner.tokenize(*input);
    std::copy(row.ids.begin(), row.ids.end(), ids);
    *count = row.ids.size();
    if (truncated != nullptr) *truncated = row.truncated;
  });
}

crosstune_status crosstune_selftest(const crosstune_classifier* classifier, crosstune_selftest_report* report) {
  return guarded([&] {
    expect(classifier != nullptr, "classifier");
    const crosstune_selftest_report found = classifier->inner.selftest();
    if (report != nullptr) *report = found;
    if (found.wrong_ids == 0 && found.max_difference <= found.tolerance) return;
    char line[256];
    std::snprintf(line, sizeof line,
                  "self-test: %zu of %zu samples with other ids, largest probability difference %.1e, expected 0 and "
                  "at most %.0e. Build for this machine.",
                  found.wrong_ids, found.samples, found.max_difference, found.tolerance);
    throw Failure(CROSSTUNE_SELFTEST, line);
  });
}
