"""Every tolerance that a test compares with, and why it is as wide as it is. Absolute unless it says otherwise.

Each is some five to twenty times what was measured on x86-64 with AVX2, so that another processor's sums fit as well.
"""

from __future__ import annotations

#: Features of length 1, torch float32 against the float64 oracle: measured 1e-7.
FEATURES_TO_ORACLE = 1e-6

#: Probabilities, torch float32 against the float64 oracle, where logits are below 1; multiply by the size of the logits.
PROBS_TO_ORACLE = 1e-6

#: The same head by its folded keys: float32 sums in another order; multiply as above.
PROBS_TWO_WAYS = 1e-6

#: A row of float32 probabilities sums to 1.
ROW_SUM = 1e-6

#: Hidden states (of size 1) of a text alone and in a batch, padded or not: only sums are reordered; measured 1e-6.
STATES_PADDED = 2e-5

#: Head fitted in float32 by 200 accelerated steps against scipy's optimum in float64: relative excess of the objective.
FIT_EXCESS = 2e-4

#: Logits of that fit against those at scipy's optimum; the objective is flat there, so logits agree less than it does.
FIT_LOGITS = 5e-3

#: Keys and biases of several settings fitted in one batch against one by one: 200 steps of reordered float32 sums.
FIT_TOGETHER = 1e-5

#: Mixture weights against scipy's, which stops at slopes of 1e-9; the pull makes the problem strongly convex.
MIXTURE_WEIGHTS = 2e-4

#: Logits of the head without shots against float64: they are below 20.
ZERO_SHOT_LOGITS = 2e-5

#: Permuting the labels reorders float32 sums inside 200 steps of optimisation.
PROBS_LABEL_ORDER = 5e-5

#: Adam's first step against the learning rate, relative: its 1e-8 in the denominator and slopes by differences.
FIRST_STEP = 1e-2

#: Scores computed by another library from the same counts in float64.
SCORES = 1e-12

#: Calibration error: confidences are float32, their means are taken in different orders.
ECE = 5e-7

#: The built fp32 graph against torch: fused kernels sum in another order (the build itself refuses more than 1e-4).
FP32_GRAPH_TO_TORCH = 1e-4

#: The same bundle on another onnxruntime: a sum in another order may move an int8 activation by one step of 255.
OTHER_ONNXRUNTIME = 2e-2

#: Probabilities of a float16 encoder against float32: measured 3e-4 on the tiny backbone; CUDA is promised 2e-3.
FP16_GRAPH_TO_FP32 = 2e-3

#: C++ against Python on the same onnxruntime, machine and graph, one text a call: the same kernels; measured 0.
CPP_TO_PYTHON = 1e-5

#: int8 probabilities of a text in a batch, padded, or on more threads, against alone: float sums in another order may move an
#: activation by one step of 255; measured 2e-7 where none does.
INT8_TOGETHER_TO_ALONE = 1e-2

#: fp32 in onnxruntime-web against Python: WebAssembly kernels and another release sum in another order; measured 2e-7.
WEB_TO_PYTHON = 1e-4

#: Log-odds of fp32 probabilities as above: a probability that is near 0 or 1 has a large log-odds for a small difference.
WEB_EVIDENCE = 1e-2

#: Probabilities of small random encoders of every family, the fp32 graph against torch: measured 6e-7.
FAMILIES_TO_TORCH = 1e-5
