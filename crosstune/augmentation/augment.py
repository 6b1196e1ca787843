"""From labelled texts to further ones: ask for what is not in the cache, keep what nothing speaks against, give account."""

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
from crosstune.augmentation.generator import Generator, Limits, Tally
from crosstune.augmentation.plan import AugmentPlan, GenerationRequest
from crosstune.augmentation.prompts import canary, instructions
from crosstune.augmentation.screening import Screen
from crosstune.core.errors import GenerationError, RefusedLabelError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import no_progress
from crosstune.data.checks import FORBIDDEN
from crosstune.data.examples import Example

#: Reasons that only an answer as a whole can have; those of single texts are in ``screening.REASONS``.
NOT_BOUGHT, NO_ANSWER, CUT_OFF, UNREADABLE, MISSING = "over the cap", "empty answer", "cut off", "unreadable", "missing"
#: How many times the room of an answer that was cut off the next one gets; it is asked for once.
MORE_ROOM = 2
#: Seconds that requests under way get to end in when the run is stopped.
LAST_SECONDS = 5.0


@dataclass(frozen=True)
class AugmentConfig:
    """How to ask.

    Attributes:
        model: Name of the model at the endpoint.
        temperature: Sampling temperature, 0 to 2.
        concurrency: Requests under way at once, at least 1.
        timeout_s: Seconds for a whole request, connection to last byte.
        max_wait_s: Longest wait that a server may ask for between two sends, in seconds.
        max_cost: US dollars that are not exceeded; no cap when None.
        price: Of the model; None when unknown.
    """

    model: str
    temperature: float = 1.0
    concurrency: int = 4
    timeout_s: float = 120.0
    max_wait_s: float = 120.0
    max_cost: Decimal | None = None
    price: Price | None = None

    def with_price(self, price: Price | None, max_cost: Decimal | None) -> AugmentConfig:
        """The same settings with a price and a cap."""
        return replace(self, price=price, max_cost=max_cost)


@dataclass(frozen=True)
class AugmentAccount:
    """Where every requested text went, and what it cost.

    Attributes:
        requested: Texts asked for; always ``kept`` and all of ``rejected`` together.
        kept: Texts that came through.
        rejected: Texts by why they did not.
        by_label: Label to reason (``kept`` among them) to texts.
        surplus: Texts that came beyond those asked for, and were not looked at.
        tally: Answers bought and cached, sends repeated, tokens.
        cost: US dollars of this run, by the server's count of tokens; None when the price is unknown.
    """

    requested: int
    kept: int
    rejected: dict[str, int]
    by_label: dict[str, dict[str, int]]
    surplus: int
    tally: Tally
    cost: Decimal | None


@dataclass(frozen=True)
class AugmentResult:
    """Kept texts with the labels they were asked for, in the order of the plan, dropped ones with reasons, the account."""

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

    Every answer is in the cache before it is used, so a run that ends early loses nothing: run it again.

    Args:
        examples: The real texts the plan was made from.
        labels: Their labels.
        plan: What to ask.
        endpoint: Whom to ask.
        config: How to ask.
        cache_path: File of the cache; in memory when None.
        progress: Called with the stage, the steps done and their total.

    Raises:
        GenerationError: The endpoint gave up; the message says how many answers are saved.
        RefusedLabelError: The model refuses every text of a label.
        AnswerCacheError: The cache is not one.
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
    """The answer to each request of the plan; None where the budget did not reach."""
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
                answers[index] = await _whole_answer(generator, request)
            except GenerationError as error:
                failures.append(error)
            done += 1
            progress("ask", done, len(plan.requests))

    tasks = [asyncio.create_task(work()) for _ in range(min(config.concurrency, len(plan.requests)))]
    try:
        await asyncio.gather(*(asyncio.shield(task) for task in tasks))
    except asyncio.CancelledError:
        failures.append(GenerationError("stopped"))
        await asyncio.wait(tasks, timeout=LAST_SECONDS)  # what is nearly paid for is still taken
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await generator.close()
    if failures:
        raise GenerationError(f"{failures[0]} {len(cache)} answers are saved in {cache.path or 'memory'}.") from None
    return answers, generator


async def _whole_answer(generator: Generator, request: GenerationRequest) -> Answer | None:
    """The answer; where it was cut off, that to the same request with more room."""
    answer = await generator.answer(request)
    if answer is None or answer.finish_reason != "length":
        return answer
    return await generator.answer(replace(request, max_tokens=MORE_ROOM * request.max_tokens)) or answer


@dataclass
class _Ledger:
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
    """Texts out of the answers, in the order of the plan whatever order they came in."""
    said = [*instructions(), *labels.names, *(text for label in labels for text in label.descriptions)]
    screen = Screen([example.text for example in examples], said, (canary(), REMOVED))
    ledger = _Ledger(counts={label.name: Counter() for label in labels})
    for request, answer in zip(plan.requests, answers, strict=True):
        counts = ledger.counts[request.label]
        texts, reason = _texts(answer)
        ledger.surplus += max(0, len(texts) - request.asked)
        for text in texts[: request.asked]:
            example = Example(FORBIDDEN.sub("\ufffd", " ".join(text.split())), request.label)
            against = UNREADABLE if "\ufffd" in example.text else screen.reason(example.text)
            counts[against or "kept"] += 1
            if against is None:
                ledger.kept.append(example)
            else:
                ledger.dropped.append((example, against))
        counts[reason] += max(0, request.asked - len(texts))
    totals: Counter[str] = sum(ledger.counts.values(), Counter())
    rejected = {reason: n for reason, n in totals.most_common() if reason != "kept" and n}
    account = AugmentAccount(
        requested=plan.asked,
        kept=totals["kept"],
        rejected=rejected,
        by_label={label: {reason: n for reason, n in counts.items() if n} for label, counts in ledger.counts.items()},
        surplus=ledger.surplus,
        tally=generator.tally,
        cost=generator.budget.spent if generator.price is not None else None,
    )
    return AugmentResult(tuple(ledger.kept), tuple(ledger.dropped), account)


def _texts(answer: Answer | None) -> tuple[list[str], str]:
    """Texts of an answer, and why there are not as many as were asked for."""
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
