"""Further training examples from an LLM: the price before, a cap during, the account after; nothing paid for is lost."""

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
