// The C ABI. Converts every exception to a status and a message.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/strict_json.hpp"
#include "crosstune.h"
#include "error.hpp"
#include "run/classifier.hpp"
#include "tokenize/characters.hpp"

using crosstune::core::Classifier;
using crosstune::core::Failure;
using crosstune::core::kMaxThreads;
using crosstune::core::LoadOptions;

struct crosstune_options {
  LoadOptions values;
};

struct crosstune_classifier {
  Classifier inner;
};

namespace {

// A fixed buffer, so that reporting an out-of-memory error needs no memory.
thread_local char last_error[2048] = "";

crosstune_status set_error(crosstune_status status, const char* message) {
  const std::size_t size = std::strlen(message);
  std::size_t end = std::min(size, sizeof last_error - 1);
  while (end < size && end > 0 && (message[end] & 0xC0) == 0x80) --end;  // do not split a code point
  std::memcpy(last_error, message, end);
  last_error[end] = '\0';
  return status;
}

template <typename Body>
crosstune_status catch_errors(const Body& body) noexcept {
  try {
    body();
    return CROSSTUNE_OK;
  } catch (const Failure& failure) {
    return set_error(failure.status, failure.what());
  } catch (const std::bad_alloc&) {
    return set_error(CROSSTUNE_RESOURCES, "memory: not enough. Use a smaller bundle or shorter texts.");
  } catch (const std::exception& error) {
    return set_error(CROSSTUNE_BUG, (std::string("internal error: ") + error.what() + ". Please report it.").c_str());
  } catch (...) {
    return set_error(CROSSTUNE_BUG, "internal error: an unknown exception. Please report it.");
  }
}

void require_pointer(const void* pointer, const char* name) {
  if (pointer == nullptr) throw Failure(CROSSTUNE_USAGE, std::string(name) + ": found NULL, expected a pointer.");
}

std::string format_number(double number) {
  return std::isfinite(number) ? crosstune::core::json_text(number) : std::to_string(number);
}

Failure usage_error(const std::string& message) { return Failure(CROSSTUNE_USAGE, message); }

}  // namespace

const char* crosstune_version(void) { return CROSSTUNE_VERSION; }

const char* crosstune_tokenizer_reference(void) { return crosstune::core::reference_tokenizer(); }

const char* crosstune_error(void) { return last_error; }

crosstune_status crosstune_options_create(crosstune_options** options) {
  return catch_errors([&] {
    require_pointer(options, "options");
    *options = nullptr;
    *options = new crosstune_options;
  });
}

void crosstune_options_destroy(crosstune_options* options) { delete options; }

crosstune_status crosstune_options_set_threads(crosstune_options* options, int32_t threads) {
  return catch_errors([&] {
    require_pointer(options, "options");
    if (threads < 1 || threads > kMaxThreads)
      throw usage_error("threads: found " + std::to_string(threads) + ", expected 1 to " + std::to_string(kMaxThreads) + ".");
    options->values.threads = threads;
  });
}

crosstune_status crosstune_options_set_onnxruntime(crosstune_options* options, const char* path) {
  return catch_errors([&] {
    require_pointer(options, "options");
    require_pointer(path, "path");
    options->values.onnxruntime = path;
  });
}

crosstune_status crosstune_options_set_threshold(crosstune_options* options, double threshold) {
  return catch_errors([&] {
    require_pointer(options, "options");
    if (!(threshold >= 0 && threshold <= 1))
      throw Failure(CROSSTUNE_INPUT, "threshold: found " + format_number(threshold) + ", expected a probability from 0 to 1.");
    options->values.threshold = threshold;
  });
}

crosstune_status crosstune_options_set_min_similarity(crosstune_options* options, double min_similarity) {
  return catch_errors([&] {
    require_pointer(options, "options");
    if (!(min_similarity >= -1 && min_similarity <= 1))
      throw Failure(CROSSTUNE_INPUT,
                    "min_similarity: found " + format_number(min_similarity) + ", expected a number from -1 to 1.");
    options->values.min_similarity = min_similarity;
  });
}

crosstune_status crosstune_options_set_digest(crosstune_options* options, const char* digest) {
  return catch_errors([&] {
    require_pointer(options, "options");
    require_pointer(digest, "digest");
    const std::string_view text = digest;
    if (text.size() != 64 || text.find_first_not_of("0123456789abcdef") != text.npos)
      throw usage_error("digest: found '" + std::string(text.substr(0, 80)) + "', expected 64 digits from 0 to f.");
    options->values.digest = text;
  });
}

crosstune_status crosstune_classifier_create(const char* bundle, const crosstune_options* options,
                                             crosstune_classifier** classifier) {
  return catch_errors([&] {
    require_pointer(classifier, "classifier");
    *classifier = nullptr;
    require_pointer(bundle, "bundle");
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

const char* crosstune_kernels(const crosstune_classifier* classifier) { return classifier->inner.session().kernels().c_str(); }

crosstune_status crosstune_classify(const crosstune_classifier* classifier, const crosstune_text* input,
                                    crosstune_answer* answer, float* probs) {
  return catch_errors([&] {
    require_pointer(classifier, "classifier");
    require_pointer(input, "input");
    require_pointer(answer, "answer");
    std::vector<float> row(classifier->inner.manifest().labels.size());
    *answer = classifier->inner.classify(*input, row.data());
    if (probs != nullptr) std::copy(row.begin(), row.end(), probs);
  });
}

crosstune_status crosstune_tokenize(const crosstune_classifier* classifier, const crosstune_text* input, int64_t* ids,
                                    size_t capacity, size_t* count, int32_t* truncated) {
  return catch_errors([&] {
    require_pointer(classifier, "classifier");
    require_pointer(input, "input");
    require_pointer(ids, "ids");
    require_pointer(count, "count");
    const size_t required = classifier->inner.manifest().tokens.max_length_tokens;
    if (capacity < required)
      throw usage_error("capacity: found " + std::to_string(capacity) + ", expected at least " + std::to_string(required) + ".");
    const crosstune::core::TokenRow row = classifier->inner.tokenize(*input);
    std::copy(row.ids.begin(), row.ids.end(), ids);
    *count = row.ids.size();
    if (truncated != nullptr) *truncated = row.truncated;
  });
}

crosstune_status crosstune_selftest(const crosstune_classifier* classifier, crosstune_selftest_report* report) {
  return catch_errors([&] {
    require_pointer(classifier, "classifier");
    const crosstune_selftest_report result = classifier->inner.selftest();
    if (report != nullptr) *report = result;
    if (result.wrong_ids == 0 && result.max_difference <= result.tolerance) return;
    char line[256];
    std::snprintf(line, sizeof line,
                  "self-test: %zu of %zu samples with other ids, largest probability difference %.1e, expected 0 and "
                  "at most %.0e. Build for this machine.",
                  result.wrong_ids, result.samples, result.max_difference, result.tolerance);
    throw Failure(CROSSTUNE_SELFTEST, line);
  });
}
