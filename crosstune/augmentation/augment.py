"""Carry out a plan: request answers that are not in the cache, screen their texts, and account for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from crosstune.augmentation.answers import Answer, texts_in
from crosstune.augmentation.budget import Budget, Price
from crosstune.augmentation.cache import AnswerCache
from crosstune.augmentation.endpoint import REMOVED, Endpoint
from crosstune.augmentation.generator import Generator, Limits, Usage
from crosstune.augmentation.plan import AugmentPlan, GenerationRequest
from crosstune.augmentation.prompts import canary, instructions
from crosstune.augmentation.screening import Screen
from crosstune.core.errors import GenerationError, RefusedLabelError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import no_progress
from crosstune.data.checks import FORBIDDEN
from crosstune.data.examples import Example

#: Reasons to drop all texts of an answer; reasons for single texts are in ``screening.REASONS``.
NOT_BOUGHT, NO_ANSWER, CUT_OFF, UNREADABLE, MISSING = "over the cap", "empty answer", "cut off", "unreadable", "missing"
#: Factor by which the limit of a truncated answer is raised when it is requested again, once. Chosen by hand.
MORE_ROOM = 2
#: Seconds that running requests get to finish when the run is interrupted; chosen by hand.
SHUTDOWN_S = 5.0


@dataclass(frozen=True)
class AugmentConfig:
    """How to send requests.

    Attributes:
        model: Name of the model at the endpoint.
        temperature: Sampling temperature, 0 to 2.
        concurrency: Maximum concurrent requests, at least 1.
        timeout_s: Timeout of a request from connection to last byte, in seconds.
        max_wait_s: Longest wait between two sends that a server may request, in seconds.
        max_cost: Maximum cost in US dollars; None for no cap.
        price: Price of the model; None if unknown.
    """

    model: str
    temperature: float = 1.0
    concurrency: int = 4
    timeout_s: float = 120.0
    max_wait_s: float = 120.0
    max_cost: Decimal | None = None
    price: Price | None = None

    def with_price(self, price: Price | None, max_cost: Decimal | None) -> AugmentConfig:
        """Return the settings with another price and cap."""
        return replace(self, price=price, max_cost=max_cost)


@dataclass(frozen=True)
class AugmentAccount:
    """Account of all requested texts and their cost.

    Attributes:
        requested: Number of requested texts, the sum of ``kept`` and all of ``rejected``.
        kept: Number of texts that passed the screening.
        rejected: Number of other texts by reason.
        by_label: Number of texts by label and reason (or ``kept``).
        surplus: Number of texts that came in addition to the requested ones and were ignored.
        usage: Counts of answers, sends and tokens.
        cost: Cost of this run in US dollars, by the token counts of the server; None if the price is unknown.
    """

    requested: int
    kept: int
    rejected: dict[str, int]
    by_label: dict[str, dict[str, int]]
    surplus: int
    usage: Usage
    cost: Decimal | None


@dataclass(frozen=True)
class AugmentResult:
    """Result of a run.

    Attributes:
        kept: Kept texts with their requested labels, in the order of the plan.
        dropped: Dropped texts, each with the reason.
        account: Counts and cost.
    """

    kept: tuple[Example, ...]
    dropped: tuple[tuple[Example, str], ...]
    account: AugmentAccount


def carry_out(
    examples: Sequence[Example],
    labels: LabelSet,
    plan: AugmentPlan,
    endpoint: Endpoint,
    config: AugmentConfig,
    cache_path: Path | None,
    *,
    progress: Callable[[str, int, int], None] = no_progress,
) -> AugmentResult:
    """Carry out a plan.

    Every answer is stored in the cache before it is used, so that an interrupted run can be repeated without paying twice.

    Args:
        examples: Real examples, from which the plan was made.
        labels: Their labels.
        plan: Requests to send.
        endpoint: Server to send them to.
        config: How to send them.
        cache_path: SQLite file of the cache; None to keep it in memory.
        progress: Called with the stage, the steps done and their total.

    Raises:
        GenerationError: The server failed; the message states how many answers are saved.
        RefusedLabelError: The model refused all texts of a label.
        AnswerCacheError: The file is not a cache of answers.
        ResourceError: The cache is in use or cannot be written.
    """
    with AnswerCache(cache_path) as cache:
        answers, generator = asyncio.run(_buy(plan, endpoint, config, cache, progress))
        where = cache_path or "memory"
    result = _collect(examples, labels, plan, answers, generator)
    for label, counts in result.account.by_label.items():
        if counts.get("refusal", 0) == sum(counts.values()):
            raise RefusedLabelError(
                f"{endpoint.host}: {config.model} refused all {counts['refusal']} texts of {label!r}, expected some. "
                f"Reword its description, or ask another model; the answers are in {where}."
            )
    return result


async def _buy(
    plan: AugmentPlan,
    endpoint: Endpoint,
    config: AugmentConfig,
    cache: AnswerCache,
    progress: Callable[[str, int, int], None],
) -> tuple[list[Answer | None], Generator]:
    """Return the answer to each request of the plan; None if it would have exceeded the budget."""
    limits = Limits(config.timeout_s, config.max_wait_s)
    budget = Budget(config.max_cost)
    generator = Generator(endpoint, config.model, config.temperature, cache, budget, config.price, limits)
    answers: list[Answer | None] = [None] * len(plan.requests)
    waiting = iter(enumerate(plan.requests))
    failures: list[GenerationError] = []
    done = 0

    async def work() -> None:
        nonlocal done
        for index, request in waiting:
            if failures:
                return
            try:
                answers[index] = await _complete_answer(generator, request)
            except GenerationError as error:
                failures.append(error)
            done += 1
            progress("ask", done, len(plan.requests))

    tasks = [asyncio.create_task(work()) for _ in range(min(config.concurrency, len(plan.requests)))]
    try:
        await asyncio.gather(*(asyncio.shield(task) for task in tasks))
    except asyncio.CancelledError:
        failures.append(GenerationError("stopped"))
        await asyncio.wait(tasks, timeout=SHUTDOWN_S)  # their answers may already be billed
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await generator.close()
    if failures:
        raise GenerationError(f"{failures[0]} {len(cache)} answers are saved in {cache.path or 'memory'}.") from None
    return answers, generator


async def _complete_answer(generator: Generator, request: GenerationRequest) -> Answer | None:
    """Return the answer to a request; if it is truncated, send the request again with a larger limit."""
    answer = await generator.answer(request)
    if answer is None or answer.finish_reason != "length":
        return answer
    return await generator.answer(replace(request, max_tokens=MORE_ROOM * request.max_tokens)) or answer


@dataclass
class _Collected:
    """Texts and counts while answers are screened."""

    kept: list[Example] = field(default_factory=list)
    dropped: list[tuple[Example, str]] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    surplus: int = 0


def _collect(
    examples: Sequence[Example],
    labels: LabelSet,
    plan: AugmentPlan,
    answers: Sequence[Answer | None],
    generator: Generator,
) -> AugmentResult:
    """Screen the texts of all answers, in the order of the plan, and count them."""
    prompt_texts = [*instructions(), *labels.names, *(text for label in labels for text in label.descriptions)]
    screen = Screen([example.text for example in examples], prompt_texts, (canary(), REMOVED))
    collected = _Collected(counts={label.name: Counter() for label in labels})
    for request, answer in zip(plan.requests, answers, strict=True):
        counts = collected.counts[request.label]
        texts, missing_reason = _texts(answer)
        collected.surplus += max(0, len(texts) - request.count)
        for text in texts[: request.count]:
            example = Example(FORBIDDEN.sub("\ufffd", " ".join(text.split())), request.label)
            drop_reason = UNREADABLE if "\ufffd" in example.text else screen.reason(example.text)
            counts[drop_reason or "kept"] += 1
            if drop_reason is None:
                collected.kept.append(example)
            else:
                collected.dropped.append((example, drop_reason))
        counts[missing_reason] += max(0, request.count - len(texts))
    totals: Counter[str] = sum(collected.counts.values(), Counter())
    rejected = {reason: n for reason, n in totals.most_common() if reason != "kept" and n}
    account = AugmentAccount(
        requested=plan.requested,
        kept=totals["kept"],
        rejected=rejected,
        by_label={
            label: {reason: n for reason, n in counts.items() if n} for label, counts in collected.counts.items()
        },
        surplus=collected.surplus,
        usage=generator.usage,
        cost=generator.budget.spent if generator.price is not None else None,
    )
    return AugmentResult(tuple(collected.kept), tuple(collected.dropped), account)


def _texts(answer: Answer | None) -> tuple[list[str], str]:
    """Return the texts of an answer, and the reason for texts that are missing."""
    if answer is None:
        return [], NOT_BOUGHT
    if answer.refused or answer.finish_reason == "content_filter":
        return [], "refusal"
    if answer.finish_reason == "oversized":
        return [], UNREADABLE
    if answer.content is None or not answer.content.strip():
        return [], NO_ANSWER
    if answer.finish_reason == "length":
        return [], CUT_OFF
    texts = texts_in(answer.content)
    if texts:
        return texts, MISSING
    refuses = Screen([], []).reason(answer.content[:300]) == "refusal"
    return [], "refusal" if refuses else UNREADABLE
