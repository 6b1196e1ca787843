"""Generate training examples with an LLM: an estimate before, a cap on the cost during, an account after a run."""

from __future__ import annotations

from crosstune.augmentation.augment import AugmentAccount, AugmentConfig, AugmentResult, carry_out
from crosstune.augmentation.job import AugmentJob, augment, prepare
from crosstune.augmentation.plan import AugmentPlan, plan_requests

__all__ = [
    "AugmentAccount",
    "AugmentConfig",
    "AugmentJob",
    "AugmentPlan",
    "AugmentResult",
    "augment",
    "carry_out",
    "plan_requests",
    "prepare",
]
