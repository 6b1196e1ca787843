"""The estimate before and the account after, in words and as JSON."""

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

#: Bytes that a token of ordinary text has; only for estimates, never for the cap.
BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """What a plan will take: about, and at most. Costs in US dollars, None when the price is unknown."""

    prompt_tokens: int
    answer_tokens: int
    most_answer_tokens: int
    cost: Decimal | None
    most_cost: Decimal | None


def estimate(plan: AugmentPlan, config: AugmentConfig) -> Estimate:
    """Estimate a plan as if nothing of it were in the cache.

    The prompt is counted at 4 bytes a token; the answer at half of the room it gets. The most counts every byte of a prompt as a
    token and the whole room of every answer, which is cut off and asked for again with more of it, each as often as it is sent
    when nobody knows whether it was billed.
    """
    around = sum(TOKENS_AROUND_MESSAGE * (len(request.messages) + 1) for request in plan.requests)
    size = sum(request.prompt_bytes for request in plan.requests)
    room = sum(request.max_tokens for request in plan.requests)
    prompt, answer = size // BYTES_PER_TOKEN + around, room // 2
    most_prompt, most_answer = 2 * MAX_UNSURE_SENDS * (size + around), (1 + MORE_ROOM) * MAX_UNSURE_SENDS * room
    price = config.price
    return Estimate(
        prompt_tokens=prompt,
        answer_tokens=answer,
        most_answer_tokens=most_answer,
        cost=None if price is None else price.cost(prompt, answer),
        most_cost=None if price is None else price.cost(most_prompt, most_answer),
    )


def describe_plan(plan: AugmentPlan, endpoint: Endpoint, config: AugmentConfig) -> str:
    """What ``--dry-run`` prints: who is asked, what leaves the machine, the first chat in full, the price."""
    guess = estimate(plan, config)
    lines = [
        f"host: {endpoint.host}" + (f", by way of the proxy {endpoint.proxy}" if endpoint.proxy else ""),
        f"model: {config.model}",
        f"seed texts that leave this machine: {plan.seed_texts}",
        f"asked for: {plan.asked} texts in {len(plan.requests)} requests",
        f"tokens: about {guess.prompt_tokens} in and {guess.answer_tokens} out, at most {guess.most_answer_tokens} out",
        f"cost: about {money(guess.cost)}, at most {money(guess.most_cost)}",
        "first prompt:",
    ]
    for message in plan.requests[0].messages:
        lines += [f"--- {message.role}", message.content]
    return "\n".join(lines)


def describe_account(result: AugmentResult, endpoint: Endpoint, config: AugmentConfig) -> list[str]:
    """What a run prints at its end."""
    account, tally = result.account, result.account.tally
    reasons = ", ".join(f"{reason} {n}" for reason, n in account.rejected.items())
    lines = [
        f"{account.requested} requested = {account.kept} kept + {account.requested - account.kept} rejected"
        + (f" ({reasons})" if reasons else ""),
        f"{endpoint.host}, {config.model}: {tally.bought} answers bought, {tally.from_cache} from the cache, "
        f"{tally.prompt_tokens} tokens in, {tally.answer_tokens} out, {money(account.cost)}",
    ]
    notes = [
        (tally.retries, "sent again"),
        (tally.unsure, "sent without an answer and perhaps billed, which the cost counts in full"),
        (tally.uncounted, "answers without a count of tokens, which the cost counts in full"),
        (account.surplus, "texts beyond those asked for, not looked at"),
    ]
    lines += [f"  {n} {note}" for n, note in notes if n]
    return lines


def account_json(
    result: AugmentResult, plan: AugmentPlan, endpoint: Endpoint, config: AugmentConfig
) -> dict[str, Json]:
    """Settings, account and dropped texts, as they are kept beside the output."""
    account, tally = result.account, result.account.tally
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
            "bought": tally.bought,
            "from_cache": tally.from_cache,
            "sent_again": tally.retries,
            "unsure": tally.unsure,
        },
        "tokens": {"prompt": tally.prompt_tokens, "answer": tally.answer_tokens},
        "cost_usd": None if account.cost is None else float(account.cost),
        "dropped": [
            {"text": example.text, "label": example.label, "reason": reason} for example, reason in result.dropped
        ],
    }


def money(amount: Decimal | None) -> str:
    """US dollars, to a hundredth of a cent.

    Example:
        >>> money(Decimal("0.01234")), money(None)
        ('$0.0123', 'unknown (no price)')
    """
    return "unknown (no price)" if amount is None else f"${amount:.4f}"
