/* libcrosstune: classifies text with a CrossTune bundle. C ABI, no Python, no torch.
 *
 * Ownership. A handle comes from a ..._create function and goes back to the ..._destroy function of its kind, once; NULL is
 * ignored there. Everything that a function takes stays the caller's and is copied when it is kept. A `const char *` that a
 * function returns belongs to the handle and lives as long as it does (that of crosstune_error: until the next failing call
 * of the same thread).
 *
 * Threads. One classifier answers any number of threads at once, without locks of its own. Creating and destroying
 * classifiers is safe in any thread; destroying one that another thread still uses is not. Options are for one thread.
 * After fork() a classifier of the parent answers CROSSTUNE_USAGE in the child: create it in the process that uses it.
 *
 * Errors. No function exits, aborts or lets a C++ exception out. One that can fail returns a status; crosstune_error() then
 * says in one line what was found, what was expected and what to do next. On failure output parameters are left alone,
 * but for handles, which are set to NULL. A NULL where a pointer is needed is such a failure; functions that return no
 * status need a handle that is alive.
 */
#ifndef CROSSTUNE_H
#define CROSSTUNE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CROSSTUNE_API __attribute__((visibility("default")))
#else
#define CROSSTUNE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers are also the exit codes of the programs. */
typedef enum crosstune_status {
  CROSSTUNE_OK = 0,
  CROSSTUNE_BUG = 1,       /* ours */
  CROSSTUNE_USAGE = 2,     /* an argument, or an onnxruntime that is missing or too old */
  CROSSTUNE_INPUT = 3,     /* a text that cannot be classified */
  CROSSTUNE_BUNDLE = 5,    /* a bundle that is refused */
  CROSSTUNE_SELFTEST = 6,  /* the bundle's own samples do not come out as promised */
  CROSSTUNE_RESOURCES = 7  /* memory */
} crosstune_status;

typedef struct crosstune_options crosstune_options;
typedef struct crosstune_classifier crosstune_classifier;

/* One input. UTF-8, not terminated, may hold NUL; what is not UTF-8 counts as U+FFFD, one for each maximal part of a
 * sequence as in the Unicode standard (and in Python's errors="replace"). `pair` is NULL unless the bundle takes pairs. */
typedef struct crosstune_text {
  const char *text;
  size_t text_size;
  const char *pair;
  size_t pair_size;
} crosstune_text;

typedef struct crosstune_answer {
  int32_t label;     /* index of the label, or -1: none, because `prob` or `scope` is below its threshold */
  float prob;        /* of the most probable label, also where `label` is -1; in [0, 1] */
  float scope;       /* higher is more in scope; NaN where the bundle has no such output */
  int32_t truncated; /* 1 where the text was longer than the backbone reads */
} crosstune_answer;

typedef struct crosstune_selftest_report {
  size_t samples;
  size_t wrong_ids;      /* samples with other ids, or another `truncated`, than the build saw */
  double max_difference; /* largest absolute difference of a probability */
  double tolerance;      /* the largest that the bundle allows */
} crosstune_selftest_report;

CROSSTUNE_API const char *crosstune_version(void);

/* The reference tokenizer whose character tables are compiled in, for example "tokenizers 0.23.3". */
CROSSTUNE_API const char *crosstune_tokenizer_reference(void);

/* What the last failing call of this thread had to say; "" when none failed. */
CROSSTUNE_API const char *crosstune_error(void);

/* Options. What is not set has its default. */
CROSSTUNE_API crosstune_status crosstune_options_create(crosstune_options **options);
CROSSTUNE_API void crosstune_options_destroy(crosstune_options *options);

/* Threads inside one run of the graph, 1 to 256. Default 1, which is best for one short text. */
CROSSTUNE_API crosstune_status crosstune_options_set_threads(crosstune_options *options, int32_t threads);

/* File name of the onnxruntime library, as dlopen takes it. Default: the environment variable CROSSTUNE_ONNXRUNTIME, else
 * the library named when libcrosstune was built, else the system's libonnxruntime. */
CROSSTUNE_API crosstune_status crosstune_options_set_onnxruntime(crosstune_options *options, const char *path);

/* Probability, in [0, 1], below which no label is given. Default: what the bundle says. */
CROSSTUNE_API crosstune_status crosstune_options_set_threshold(crosstune_options *options, double threshold);

/* Reads a bundle, a folder or the one file that crosstune-export pack makes of it, checks every byte and makes it ready. `options` may be NULL. */
CROSSTUNE_API crosstune_status crosstune_classifier_create(const char *bundle, const crosstune_options *options,
                                                           crosstune_classifier **classifier);
CROSSTUNE_API void crosstune_classifier_destroy(crosstune_classifier *classifier);

/* Number of labels L, at least 2. */
CROSSTUNE_API size_t crosstune_label_count(const crosstune_classifier *classifier);

/* Name of a label in UTF-8, or NULL when `index` is not below L. */
CROSSTUNE_API const char *crosstune_label(const crosstune_classifier *classifier, size_t index);

/* 1 where an input is two texts, else 0. */
CROSSTUNE_API int32_t crosstune_takes_pairs(const crosstune_classifier *classifier);

/* Most ids in a row, special ids included. */
CROSSTUNE_API size_t crosstune_max_length_tokens(const crosstune_classifier *classifier);

/* SHA-256 that names the whole bundle, 64 hexadecimal digits. */
CROSSTUNE_API const char *crosstune_digest(const crosstune_classifier *classifier);

/* Version of the onnxruntime that runs it. */
CROSSTUNE_API const char *crosstune_onnxruntime_version(const crosstune_classifier *classifier);

/* Labels one input. `probs` takes L floats in the order of the labels, or is NULL. Each call runs the graph on this text
 * alone, so that no answer depends on its neighbours. */
CROSSTUNE_API crosstune_status crosstune_classify(const crosstune_classifier *classifier, const crosstune_text *input,
                                                  crosstune_answer *answer, float *probs);

/* The ids that the graph sees. `ids` has room for `capacity`, which must be at least crosstune_max_length_tokens;
 * `truncated` may be NULL. */
CROSSTUNE_API crosstune_status crosstune_tokenize(const crosstune_classifier *classifier, const crosstune_text *input,
                                                  int64_t *ids, size_t capacity, size_t *count, int32_t *truncated);

/* Runs the bundle's own samples on this machine. `report`, which may be NULL, is filled both on CROSSTUNE_OK (passed) and
 * on CROSSTUNE_SELFTEST (failed). */
CROSSTUNE_API crosstune_status crosstune_selftest(const crosstune_classifier *classifier,
                                                  crosstune_selftest_report *report);

#ifdef __cplusplus
}
#endif

#endif
