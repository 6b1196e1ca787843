// crosstune-classify BUNDLE [FILE]: labels texts, one JSON object a line, in the order of the input.
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "crosstune.hpp"
#include "error.hpp"
#include "bundle/json.hpp"
#include "text_rows.hpp"

namespace {

using crosstune::cli::Format;
using crosstune::cli::TextRow;
using crosstune::core::Failure;
using crosstune::core::json_text;

constexpr char kHelp[] =
    "Usage: crosstune-classify [OPTIONS] BUNDLE [FILE]\n"
    "\n"
    "Label texts: one JSON object a line, in the order of the input.\n"
    "FILE is .jsonl (\"text\", for pairs also \"text_pair\") or one text a line; - or nothing is standard input.\n"
    "\n"
    "  --input-format auto|jsonl|text  auto: by the ending; text for standard input\n"
    "  --threshold P                   no label below this probability\n"
    "  --threads N                     threads of the session (1)\n"
    "  --onnxruntime LIBRARY           in place of the one found by itself\n"
    "  --ids                           write the ids that the graph sees, and no labels\n"
    "  --selftest                      run the bundle's own samples and stop\n"
    "  --version                       show versions and stop\n"
    "  --help                          show this and stop\n"
    "\n"
    "Exit codes: 0 done, 1 our bug, 2 usage, 3 input data, 5 a bundle that is refused, 6 a self-test that fails, 7 memory.\n";

struct Arguments {
  std::vector<std::string> names;  // BUNDLE and perhaps FILE
  crosstune::Options options;
  std::string input_format = "auto";
  bool ids = false, selftest = false, help = false, version = false;
};

Failure usage(const std::string& message) {
  return Failure(CROSSTUNE_USAGE, message + " See crosstune-classify --help.");
}

template <typename Number>
Number number(const std::string& option, const std::string& text, Number (*parse)(const char*, char**)) {
  char* end = nullptr;
  errno = 0;
  const Number value = parse(text.c_str(), &end);
  if (text.empty() || *end != '\0') throw usage(option + ": found '" + text + "', expected a number.");
  return value;
}

// The end stays at the beginning where the number has no room.
std::int32_t whole_number(const char* text, char** end) {
  const long value = std::strtol(text, end, 10);
  const auto kept = static_cast<std::int32_t>(value);
  if (kept != value || errno == ERANGE) *end = const_cast<char*>(text);
  return kept;
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments;
  bool only_names = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto value = [&]() -> const std::string& {
      if (i + 1 == words.size()) throw usage(word + ": found nothing, expected a value.");
      return words[++i];
    };
    if (only_names || word.empty() || word[0] != '-' || word == "-") arguments.names.push_back(word);
    else if (word == "--") only_names = true;
    else if (word == "--threshold")
      arguments.options.threshold = number<double>(word, value(), std::strtod);
    else if (word == "--threads")
      arguments.options.threads = number<std::int32_t>(word, value(), whole_number);
    else if (word == "--onnxruntime") arguments.options.onnxruntime = value();
    else if (word == "--input-format") arguments.input_format = value();
    else if (word == "--ids") arguments.ids = true;
    else if (word == "--selftest") arguments.selftest = true;
    else if (word == "--help") arguments.help = true;
    else if (word == "--version") arguments.version = true;
    else throw usage(word + ": no such option.");
  }
  const std::string& format = arguments.input_format;
  if (format != "auto" && format != "jsonl" && format != "text")
    throw usage("--input-format: found '" + format + "', expected auto, jsonl or text.");
  if (!arguments.help && !arguments.version && (arguments.names.empty() || arguments.names.size() > 2))
    throw usage("found " + std::to_string(arguments.names.size()) + " names, expected BUNDLE and perhaps FILE.");
  return arguments;
}

std::string flag(bool value) { return value ? "true" : "false"; }

std::string head_of(const TextRow& row) {
  std::string line = "{\"text\": " + json_text(row.text);
  if (row.pair) line += ", \"text_pair\": " + json_text(*row.pair);
  return line;
}

std::string answer_line(const crosstune::Classifier& classifier, const TextRow& row) {
  const crosstune::Prediction answer =
      row.pair ? classifier.classify(row.text, *row.pair) : classifier.classify(row.text);
  std::string line = head_of(row);
  line += ", \"label\": " + (answer.label ? json_text(*answer.label) : "null");
  line += ", \"prob\": " + json_text(double{answer.prob}) + ", \"probs\": {";
  for (std::size_t i = 0; i < answer.probs.size(); ++i)
    line += (i == 0 ? "" : ", ") + json_text(classifier.labels()[i]) + ": " + json_text(double{answer.probs[i]});
  return line + "}, \"truncated\": " + flag(answer.truncated) + "}\n";
}

std::string ids_line(const crosstune::Classifier& classifier, const TextRow& row) {
  const crosstune::TokenIds tokens =
      row.pair ? classifier.tokenize(row.text, *row.pair) : classifier.tokenize(row.text);
  std::string line = head_of(row) + ", \"input_ids\": [";
  for (std::size_t i = 0; i < tokens.ids.size(); ++i) line += (i == 0 ? "" : ", ") + std::to_string(tokens.ids[i]);
  return line + "], \"truncated\": " + flag(tokens.truncated) + "}\n";
}

// onnxruntime prints on standard output at times. It gets standard error for that, and we keep the real one.
class Results {
 public:
  Results() : descriptor_(dup(STDOUT_FILENO)) { dup2(STDERR_FILENO, STDOUT_FILENO); }
  ~Results() { close(descriptor_); }
  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;

  // False once nobody reads any more.
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

void classify(const Arguments& arguments, const crosstune::Classifier& classifier, const Results& results) {
  const std::string file = arguments.names.size() == 2 ? arguments.names[1] : "-";
  Format format = arguments.input_format == "jsonl" ? Format::kJsonLines : Format::kText;
  if (arguments.input_format == "auto") format = crosstune::cli::format_of(file);
  std::ifstream opened;
  if (file != "-") {
    opened.open(file, std::ios::binary);
    opened.peek();  // a folder opens, and fails at the first read
    if (!opened.is_open() || opened.bad())
      throw Failure(CROSSTUNE_INPUT, file + ": cannot be read, expected a file. Check the path.");
  }
  std::istream& source = file == "-" ? std::cin : opened;
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
  const Results results;
  const crosstune::Classifier classifier(arguments.names[0], arguments.options);
  if (!arguments.selftest) return classify(arguments, classifier, results);
  const crosstune_selftest_report report = classifier.selftest();
  char line[256];
  std::snprintf(line, sizeof line,
                "self-test: %zu samples, largest probability difference %.1e (at most %.0e), onnxruntime %s\n",
                report.samples, report.max_difference, report.tolerance, classifier.onnxruntime_version().c_str());
  results.write(line);
}

int complain(int code, const std::string& message) {
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
    return complain(error.status(), error.what());
  } catch (const Failure& failure) {
    return complain(failure.status, failure.what());
  } catch (const std::bad_alloc&) {
    return complain(CROSSTUNE_RESOURCES, "memory: not enough. Use a smaller bundle or shorter texts.");
  } catch (const std::exception& error) {
    return complain(CROSSTUNE_BUG, std::string("internal error: ") + error.what() + ". Please report it.");
  }
}
