"""The estimate before a run and the account after it, human-readable and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from crosstune.augmentation.augment import MORE_ROOM, AugmentConfig, AugmentResult
from crosstune.augmentation.budget import TOKENS_AROUND_MESSAGE
from crosstune.augmentation.endpoint import Endpoint
from crosstune.augmentation.generator import MAX_UNSURE_SENDS
from crosstune.augmentation.plan import AugmentPlan
from crosstune.augmentation.prompts import PROMPT_VERSION
from crosstune.core.strict_text import Json

#: Bytes per token of English text (a common rule of thumb); used for estimates, never for the cap.
BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """Estimated tokens and cost of a plan.

    Attributes:
        prompt_tokens: Expected tokens of all prompts.
        answer_tokens: Expected tokens of all answers.
        max_answer_tokens: Upper bound for the tokens of all answers.
        cost: Expected cost in US dollars; None if the price is unknown.
        max_cost: Upper bound for the cost in US dollars; None if the price is unknown.
    """

    prompt_tokens: int
    answer_tokens: int
    max_answer_tokens: int
    cost: Decimal | None
    max_cost: Decimal | None


def estimate(plan: AugmentPlan, config: AugmentConfig) -> Estimate:
    """Estimate a plan with an empty cache.

    The expected values count 4 bytes per token of a prompt, and half of the maximum length of an answer. The upper bounds count
    every byte of a prompt as a token and the maximum length of an answer, assume that every answer is truncated and requested
    again with a larger limit, and that every request is sent ``MAX_UNSURE_SENDS`` times.
    """
    around = sum(TOKENS_AROUND_MESSAGE * (len(request.messages) + 1) for request in plan.requests)
    size = sum(request.prompt_bytes for request in plan.requests)
    room = sum(request.max_tokens for request in plan.requests)
    prompt, answer = size // BYTES_PER_TOKEN + around, room // 2
    max_prompt, max_answer = 2 * MAX_UNSURE_SENDS * (size + around), (1 + MORE_ROOM) * MAX_UNSURE_SENDS * room
    price = config.price
    return Estimate(
        prompt_tokens=prompt,
        answer_tokens=answer,
        max_answer_tokens=max_answer,
        cost=None if price is None else price.cost(prompt, answer),
        max_cost=None if price is None else price.cost(max_prompt, max_answer),
    )


def describe_plan(plan: AugmentPlan, endpoint: Endpoint, config: AugmentConfig) -> str:
    """Return the text of ``--dry-run``: the server, the number of texts that are sent, the cost, and the first prompt."""
    estimated = estimate(plan, config)
    lines = [
        f"host: {endpoint.host}" + (f", via the proxy {endpoint.proxy}" if endpoint.proxy else ""),
        f"model: {config.model}",
        f"seed texts that leave this machine: {plan.seed_texts}",
        f"requested: {plan.requested} texts in {len(plan.requests)} requests",
        f"tokens: about {estimated.prompt_tokens} in and {estimated.answer_tokens} out, at most {estimated.max_answer_tokens} out",
        f"cost: about {money(estimated.cost)}, at most {money(estimated.max_cost)}",
        "first prompt:",
    ]
    for message in plan.requests[0].messages:
        lines += [f"--- {message.role}", message.content]
    return "\n".join(lines)


def describe_account(result: AugmentResult, endpoint: Endpoint, config: AugmentConfig) -> list[str]:
    """Return the lines that are printed after a run."""
    account, usage = result.account, result.account.usage
    reasons = ", ".join(f"{reason} {n}" for reason, n in account.rejected.items())
    lines = [
        f"{account.requested} requested = {account.kept} kept + {account.requested - account.kept} rejected"
        + (f" ({reasons})" if reasons else ""),
        f"{endpoint.host}, {config.model}: {usage.bought} answers bought, {usage.from_cache} from the cache, "
        f"{usage.prompt_tokens} tokens in, {usage.answer_tokens} out, {money(account.cost)}",
    ]
    notes = [
        (usage.retries, "sent again"),
        (usage.unsure, "sent without an answer and possibly billed, counted at their maximum cost"),
        (usage.uncounted, "answers without a token count, counted at their maximum cost"),
        (account.surplus, "texts more than requested, ignored"),
    ]
    lines += [f"  {n} {note}" for n, note in notes if n]
    return lines


def account_json(
    result: AugmentResult, plan: AugmentPlan, endpoint: Endpoint, config: AugmentConfig
) -> dict[str, Json]:
    """Return settings, account and dropped texts as written to ``OUTPUT.account.json``."""
    account, usage = result.account, result.account.usage
    return {
        "base_url": endpoint.base_url,
        "model": config.model,
        "temperature": config.temperature,
        "prompt_version": PROMPT_VERSION,
        "requests": len(plan.requests),
        "seed_texts": plan.seed_texts,
        "requested": account.requested,
        "kept": account.kept,
        "rejected": dict(account.rejected),
        "by_label": {label: dict(counts) for label, counts in account.by_label.items()},
        "answers": {
            "bought": usage.bought,
            "from_cache": usage.from_cache,
            "sent_again": usage.retries,
            "unsure": usage.unsure,
        },
        "tokens": {"prompt": usage.prompt_tokens, "answer": usage.answer_tokens},
        "cost_usd": None if account.cost is None else float(account.cost),
        "dropped": [
            {"text": example.text, "label": example.label, "reason": reason} for example, reason in result.dropped
        ],
    }


def money(amount: Decimal | None) -> str:
    """Format US dollars, rounded to a hundredth of a cent.

    Examples:
        >>> money(Decimal("0.01234")), money(None)
        ('$0.0123', 'unknown (no price)')
    """
    return "unknown (no price)" if amount is None else f"${amount:.4f}"
