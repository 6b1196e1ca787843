"""Further training texts from an LLM: the price before, a cap during, the account after, and nothing paid for is lost."""

from __future__ import annotations

from crosstune.augmentation.augment import AugmentAccount, AugmentConfig, AugmentResult, augment
from crosstune.augmentation.plan import AugmentPlan, plan_requests

__all__ = ["AugmentAccount", "AugmentConfig", "AugmentPlan", "AugmentResult", "augment", "plan_requests"]
