// crosstune-classify BUNDLE [FILE]: classifies texts and writes one JSON object per text.
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "bundle/strict_json.hpp"
#include "crosstune.hpp"
#include "error.hpp"
#include "text_rows.hpp"

namespace {

using crosstune::cli::Format;
using crosstune::cli::TextRow;
using crosstune::core::Failure;
using crosstune::core::json_text;

constexpr char kHelp[] =
    "Usage: crosstune-classify [OPTIONS] BUNDLE [FILE]\n"
    "\n"
    "Classify texts. Writes one JSON object per text to standard output, in the order of the input.\n"
    "\n"
    "  BUNDLE  Bundle folder, or a file written by crosstune-export pack.\n"
    "  FILE    Texts: .jsonl with the field \"text\" (for pairs also \"text_pair\"), or a text file with one text\n"
    "          per line. Default: -, which reads standard input.\n"
    "\n"
    "Options:\n"
    "  --input-format auto|jsonl|text  Format of FILE. Default: auto, which decides by the file extension and reads\n"
    "                                  standard input as text.\n"
    "  --threshold P                   Probability below which a text gets no label, for example 0.6. Default: the\n"
    "                                  bundle's threshold.\n"
    "  --min-similarity S              Similarity to the training texts below which a text gets no label, for example\n"
    "                                  0.5. Default: the bundle's.\n"
    "  --threads N                     Threads for each text, 1 to 256. Default: 1.\n"
    "  --digest DIGEST                 Digest that the bundle must have, as crosstune-export verify prints it. Default: any.\n"
    "  --onnxruntime LIBRARY           The onnxruntime library, for example ./libonnxruntime.so. Default:\n"
    "                                  $CROSSTUNE_ONNXRUNTIME, then the built-in path, then the system's library.\n"
    "  --ids                           Write token ids instead of labels.\n"
    "  --selftest                      Run the bundle's self-test and exit.\n"
    "  --version                       Show versions and exit.\n"
    "  --help                          Show this message and exit.\n"
    "\n"
    "Exit codes: 0 success, 1 internal error, 2 usage error, 3 invalid input, 5 invalid bundle, 6 self-test failed,\n"
    "7 out of memory or disk space.\n";

struct Arguments {
  std::vector<std::string> positionals;  // BUNDLE and optionally FILE
  crosstune::Options options;
  std::string input_format = "auto";
  bool ids = false, selftest = false, help = false, version = false;
};

Failure usage_error(const std::string& message) {
  return Failure(CROSSTUNE_USAGE, message + " See crosstune-classify --help.");
}

template <typename Number>
Number parse_number(const std::string& option, const std::string& text, Number (*parse)(const char*, char**)) {
  char* end = nullptr;
  errno = 0;
  const Number value = parse(text.c_str(), &end);
  if (text.empty() || *end != '\0') throw usage_error(option + ": found '" + text + "', expected a number.");
  return value;
}

// Like std::strtol. On overflow `end` is `text`, as for a string without a number.
std::int32_t parse_int32(const char* text, char** end) {
  const long value = std::strtol(text, end, 10);
  const auto narrowed = static_cast<std::int32_t>(value);
  if (narrowed != value || errno == ERANGE) *end = const_cast<char*>(text);
  return narrowed;
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments;
  bool options_ended = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto value = [&]() -> const std::string& {
      if (i + 1 == words.size()) throw usage_error(word + ": found nothing, expected a value.");
      return words[++i];
    };
    if (options_ended || word.empty() || word[0] != '-' || word == "-") arguments.positionals.push_back(word);
    else if (word == "--") options_ended = true;
    else if (word == "--threshold")
      arguments.options.threshold = parse_number<double>(word, value(), std::strtod);
    else if (word == "--min-similarity")
      arguments.options.min_similarity = parse_number<double>(word, value(), std::strtod);
    else if (word == "--threads")
      arguments.options.threads = parse_number<std::int32_t>(word, value(), parse_int32);
    else if (word == "--digest") arguments.options.digest = value();
    else if (word == "--onnxruntime") arguments.options.onnxruntime = value();
    else if (word == "--input-format") arguments.input_format = value();
    else if (word == "--ids") arguments.ids = true;
    else if (word == "--selftest") arguments.selftest = true;
    else if (word == "--help") arguments.help = true;
    else if (word == "--version") arguments.version = true;
    else throw usage_error(word + ": no such option.");
  }
  const std::string& format = arguments.input_format;
  if (format != "auto" && format != "jsonl" && format != "text")
    throw usage_error("--input-format: found '" + format + "', expected auto, jsonl or text.");
  if (!arguments.help && !arguments.version && (arguments.positionals.empty() || arguments.positionals.size() > 2))
    throw usage_error("found " + std::to_string(arguments.positionals.size()) + " arguments, expected BUNDLE and optionally FILE.");
  return arguments;
}

std::string json_bool(bool value) { return value ? "true" : "false"; }

std::string input_fields(const TextRow& row) {
  std::string line = "{\"text\": " + json_text(row.text);
  if (row.pair) line += ", \"text_pair\": " + json_text(*row.pair);
  return line;
}

std::string answer_line(const crosstune::Classifier& classifier, const TextRow& row) {
  const crosstune::Prediction answer =
      row.pair ? classifier.classify(row.text, *row.pair) : classifier.classify(row.text);
  std::string line = input_fields(row);
  line += ", \"label\": " + (answer.label ? json_text(*answer.label) : "null");
  line += ", \"prob\": " + json_text(double{answer.prob}) + ", \"probs\": {";
  for (std::size_t i = 0; i < answer.probs.size(); ++i)
    line += (i == 0 ? "" : ", ") + json_text(classifier.labels()[i]) + ": " + json_text(double{answer.probs[i]});
  line += "}, \"truncated\": " + json_bool(answer.truncated);
  return line + ", \"similarity\": " + (answer.similarity ? json_text(double{*answer.similarity}) : "null") + "}\n";
}

std::string ids_line(const crosstune::Classifier& classifier, const TextRow& row) {
  const crosstune::TokenIds tokens =
      row.pair ? classifier.tokenize(row.text, *row.pair) : classifier.tokenize(row.text);
  std::string line = input_fields(row) + ", \"input_ids\": [";
  for (std::size_t i = 0; i < tokens.ids.size(); ++i) line += (i == 0 ? "" : ", ") + std::to_string(tokens.ids[i]);
  return line + "], \"truncated\": " + json_bool(tokens.truncated) + "}\n";
}

// Writes to standard output. Everything else that is printed there goes to standard error, because onnxruntime sometimes
// prints warnings.
class ResultWriter {
 public:
  ResultWriter() : descriptor_(dup(STDOUT_FILENO)) { dup2(STDERR_FILENO, STDOUT_FILENO); }
  ~ResultWriter() { close(descriptor_); }
  ResultWriter(const ResultWriter&) = delete;
  ResultWriter& operator=(const ResultWriter&) = delete;

  // False when the reader has closed the pipe.
  bool write(const std::string& text) const {
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t count = ::write(descriptor_, text.data() + done, text.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EPIPE) return false;
      if (count < 0) throw Failure(CROSSTUNE_RESOURCES, "standard output: cannot be written. Free some disk space.");
      done += static_cast<std::size_t>(count);
    }
    return true;
  }

 private:
  int descriptor_;
};

void classify(const Arguments& arguments, const crosstune::Classifier& classifier, const ResultWriter& results) {
  const std::string file = arguments.positionals.size() == 2 ? arguments.positionals[1] : "-";
  Format format = arguments.input_format == "jsonl" ? Format::kJsonLines : Format::kText;
  if (arguments.input_format == "auto") format = crosstune::cli::format_of(file);
  std::ifstream stream;
  if (file != "-") {
    stream.open(file, std::ios::binary);
    stream.peek();  // opening a folder succeeds; reading it fails
    if (!stream.is_open() || stream.bad())
      throw Failure(CROSSTUNE_INPUT, file + ": cannot be read, expected a file. Check the path.");
  }
  std::istream& source = file == "-" ? std::cin : stream;
  crosstune::cli::TextRows rows(source, file == "-" ? "standard input" : file, format, classifier.takes_pairs());
  while (const auto row = rows.next())
    if (!results.write(arguments.ids ? ids_line(classifier, *row) : answer_line(classifier, *row))) return;
}

void run(const std::vector<std::string>& words) {
  const Arguments arguments = parse(words);
  if (arguments.help) {
    std::cout << kHelp;
    return;
  }
  if (arguments.version) {
    std::cout << "crosstune-classify " << crosstune_version() << ", " << crosstune_tokenizer_reference() << "\n";
    return;
  }
  const ResultWriter results;
  const crosstune::Classifier classifier(arguments.positionals[0], arguments.options);
  if (!arguments.selftest) return classify(arguments, classifier, results);
  const crosstune_selftest_report report = classifier.selftest();
  char line[256];
  std::snprintf(line, sizeof line,
                "self-test: %zu samples, largest probability difference %.1e (at most %.0e), onnxruntime %s, kernels %s\n",
                report.samples, report.max_difference, report.tolerance, classifier.onnxruntime_version().c_str(),
                classifier.kernels().c_str());
  results.write(line);
}

int report_error(int code, const std::string& message) {
  std::cerr << "error: " << message << "\n";
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    run({argv + 1, argv + argc});
    return 0;
  } catch (const crosstune::Error& error) {
    return report_error(error.status(), error.what());
  } catch (const Failure& failure) {
    return report_error(failure.status, failure.what());
  } catch (const std::bad_alloc&) {
    return report_error(CROSSTUNE_RESOURCES, "memory: not enough. Use a smaller bundle or shorter texts.");
  } catch (const std::exception& error) {
    return report_error(CROSSTUNE_BUG, std::string("internal error: ") + error.what() + ". Please report it.");
  }
}
