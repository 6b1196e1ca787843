/* libcrosstune: classifies text with a CrossTune bundle. C ABI, without Python or torch.
 *
 * Ownership. Every handle from a ..._create function must be passed once to the ..._destroy function of its type, which
 * ignores NULL. Functions do not take ownership of their arguments. A returned `const char *` belongs to the handle and is
 * valid as long as the handle; that of crosstune_error() is valid until the next failing call in the same thread.
 *
 * Threads. Any number of threads may use one classifier at the same time; it takes no locks. Classifiers may be created and
 * destroyed in any thread, but not destroyed while another thread uses them. Options belong to one thread. A classifier
 * does not survive fork(): calls in the child return CROSSTUNE_USAGE. Create the classifier in the process that uses it.
 *
 * Errors. No function exits, aborts or throws a C++ exception. A function that can fail returns a status; crosstune_error()
 * then returns one line that says what was found, what was expected and what to do next. On failure, output parameters keep
 * their values, except handles, which are set to NULL. A NULL argument is a failure where a pointer is required. Functions
 * that return no status require a valid handle.
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

/* The values are also the exit codes of crosstune-classify and crosstune-export. */
typedef enum crosstune_status {
  CROSSTUNE_OK = 0,
  CROSSTUNE_BUG = 1,       /* a bug in CrossTune */
  CROSSTUNE_USAGE = 2,     /* an invalid argument; onnxruntime is missing or too old */
  CROSSTUNE_INPUT = 3,     /* a text that cannot be classified */
  CROSSTUNE_BUNDLE = 5,    /* an invalid bundle */
  CROSSTUNE_SELFTEST = 6,  /* the bundle's self-test failed */
  CROSSTUNE_RESOURCES = 7  /* not enough memory */
} crosstune_status;

typedef struct crosstune_options crosstune_options;
typedef struct crosstune_classifier crosstune_classifier;

/* One input, in UTF-8. Strings need no terminating NUL and may contain NUL. Invalid UTF-8 is replaced by U+FFFD, as with
 * Python's errors="replace". `pair` must be NULL unless the bundle classifies pairs. */
typedef struct crosstune_text {
  const char *text;
  size_t text_size;
  const char *pair;
  size_t pair_size;
} crosstune_text;

typedef struct crosstune_answer {
  int32_t label;     /* index of the label; -1 when `prob` or `similarity` is below its threshold */
  float prob;        /* probability of the most probable label, even when `label` is -1; in [0, 1] */
  float similarity;  /* to the nearest label: a cosine, raised for short texts; NaN when the bundle lacks it */
  int32_t truncated; /* 1 when the text was too long and was truncated, otherwise 0 */
} crosstune_answer;

typedef struct crosstune_selftest_report {
  size_t samples;
  size_t wrong_ids;      /* samples whose ids or `truncated` differ from those of the build */
  double max_difference; /* largest absolute difference of a probability */
  double tolerance;      /* largest difference that the bundle allows */
} crosstune_selftest_report;

CROSSTUNE_API const char *crosstune_version(void);

/* The library from which the tokenizer's character tables were made, for example "tokenizers 0.23.3". */
CROSSTUNE_API const char *crosstune_tokenizer_reference(void);

/* The message of the last call that failed in this thread; "" if none has failed. */
CROSSTUNE_API const char *crosstune_error(void);

/* Options. Each has a default. */
CROSSTUNE_API crosstune_status crosstune_options_create(crosstune_options **options);
CROSSTUNE_API void crosstune_options_destroy(crosstune_options *options);

/* Threads for one run of the graph, 1 to 256. Default: 1, which is fastest for short texts. */
CROSSTUNE_API crosstune_status crosstune_options_set_threads(crosstune_options *options, int32_t threads);

/* File name of the onnxruntime library, for dlopen. Default: the environment variable CROSSTUNE_ONNXRUNTIME; otherwise the
 * library chosen when libcrosstune was built; otherwise the system's libonnxruntime. */
CROSSTUNE_API crosstune_status crosstune_options_set_onnxruntime(crosstune_options *options, const char *path);

/* Probability, in [0, 1], below which a text gets no label. Default: the bundle's threshold. */
CROSSTUNE_API crosstune_status crosstune_options_set_threshold(crosstune_options *options, double threshold);

/* Similarity to the training texts, in [-1, 1], below which a text gets no label. Default: the bundle's. The classifier is not
 * created when the bundle measures no similarity. */
CROSSTUNE_API crosstune_status crosstune_options_set_min_similarity(crosstune_options *options, double min_similarity);

/* Digest that the bundle must have, 64 lowercase hexadecimal digits, as `crosstune-export verify` prints it. Another bundle is
 * refused with CROSSTUNE_BUNDLE before its graph is read. Default: any. */
CROSSTUNE_API crosstune_status crosstune_options_set_digest(crosstune_options *options, const char *digest);

/* Loads a bundle, which is a folder or a file written by `crosstune-export pack`, and checks every byte of it. `options` may
 * be NULL. */
CROSSTUNE_API crosstune_status crosstune_classifier_create(const char *bundle, const crosstune_options *options,
                                                           crosstune_classifier **classifier);
CROSSTUNE_API void crosstune_classifier_destroy(crosstune_classifier *classifier);

/* Number of labels L, at least 2. */
CROSSTUNE_API size_t crosstune_label_count(const crosstune_classifier *classifier);

/* Name of a label in UTF-8; NULL when `index` is not below L. */
CROSSTUNE_API const char *crosstune_label(const crosstune_classifier *classifier, size_t index);

/* 1 when the bundle classifies pairs of texts, otherwise 0. */
CROSSTUNE_API int32_t crosstune_takes_pairs(const crosstune_classifier *classifier);

/* Maximum number of token ids for each input, special tokens included. */
CROSSTUNE_API size_t crosstune_max_length_tokens(const crosstune_classifier *classifier);

/* SHA-256 digest of the bundle, 64 hexadecimal digits. */
CROSSTUNE_API const char *crosstune_digest(const crosstune_classifier *classifier);

/* Version of the onnxruntime library in use. */
CROSSTUNE_API const char *crosstune_onnxruntime_version(const crosstune_classifier *classifier);

/* Kernels in use: "portable" for onnxruntime's own, or the name of the fast ones, such as "avx512". The environment variable
 * CROSSTUNE_KERNELS=portable turns the fast ones off. */
CROSSTUNE_API const char *crosstune_kernels(const crosstune_classifier *classifier);

/* Classifies one input. Writes the L probabilities to `probs`, in the order of the labels, unless `probs` is NULL. Each call
 * runs the graph on one input alone, so no answer depends on other texts. */
CROSSTUNE_API crosstune_status crosstune_classify(const crosstune_classifier *classifier, const crosstune_text *input,
                                                  crosstune_answer *answer, float *probs);

/* Writes the token ids of one input to `ids`, as the graph gets them. `capacity` is the size of `ids` and must be at least
 * crosstune_max_length_tokens(). `truncated` may be NULL. */
CROSSTUNE_API crosstune_status crosstune_tokenize(const crosstune_classifier *classifier, const crosstune_text *input,
                                                  int64_t *ids, size_t capacity, size_t *count, int32_t *truncated);

/* Runs the bundle's self-test on this machine. Fills `report`, which may be NULL, on CROSSTUNE_OK (passed) and on
 * CROSSTUNE_SELFTEST (failed). */
CROSSTUNE_API crosstune_status crosstune_selftest(const crosstune_classifier *classifier,
                                                  crosstune_selftest_report *report);

#ifdef __cplusplus
}
#endif

#endif
