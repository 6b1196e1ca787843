"""Generate examples in one call; all settings are checked before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from crosstune.augmentation.augment import AugmentConfig, AugmentResult, carry_out
from crosstune.augmentation.budget import price_of, read_cap, read_prices
from crosstune.augmentation.endpoint import Endpoint, is_on_this_machine, parse_base_url
from crosstune.augmentation.plan import AugmentPlan, plan_requests
from crosstune.core.errors import ConfigError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress
from crosstune.data.examples import Example

#: Defaults: texts to request per label (chosen by hand), and the environment variable of the API key.
PER_LABEL, KEY_ENV = 20, "OPENAI_API_KEY"


@dataclass(frozen=True)
class AugmentJob:
    """A checked plan with everything that is needed to run it; nothing has been sent.

    Attributes:
        examples: The real examples.
        labels: Their labels.
        plan: The requests, in order.
        endpoint: The server.
        config: How to send requests, with the price and the cap.
    """

    examples: tuple[Example, ...]
    labels: LabelSet
    plan: AugmentPlan
    endpoint: Endpoint
    config: AugmentConfig

    def run(self, cache_path: Path | None, *, progress: Progress = no_progress) -> AugmentResult:
        """Send the requests that are not in the cache, and return the texts that pass the screening.

        Args:
            cache_path: SQLite file that stores all paid answers; None to keep them in memory.
            progress: Called with the stage, the requests done and their total.

        Raises:
            GenerationError: The server failed; all its answers are in the cache.
            RefusedLabelError: The LLM refused all texts of a label.
            AnswerCacheError: The file is not a cache of answers.
            ResourceError: The cache is in use or cannot be written.
        """
        return carry_out(
            self.examples, self.labels, self.plan, self.endpoint, self.config, cache_path, progress=progress
        )


def prepare(
    examples: Sequence[Example],
    labels: LabelSet,
    config: AugmentConfig,
    *,
    base_url: str,
    per_label: int = PER_LABEL,
    max_cost: str | Decimal | None = None,
    prices: str | os.PathLike[str] | None = None,
    key_env: str = KEY_ENV,
    seed: int = 13,
    send: bool = True,
) -> AugmentJob:
    """Check the settings of a job and plan its requests, without sending anything.

    Args:
        examples: Real examples, which prompts quote.
        labels: Their labels.
        config: How to send requests; its price and cap are set from the arguments below.
        base_url: OpenAI-compatible server, such as ``https://api.example.com/v1``.
        per_label: Texts to request per label, from 1 to 100,000.
        max_cost: Maximum cost in US dollars; None for no cap.
        prices: TOML file with the price of each model, in US dollars per million tokens.
        key_env: Environment variable that holds the API key.
        seed: Random seed for choosing the examples in each prompt.
        send: Whether the job will be run; otherwise no key is needed.

    Raises:
        ConfigError: A setting is out of range, the key is missing, or a cap is given for a model without a price.
        DataError: The examples are pairs of texts.
        MissingExtraError: The openai package is not installed.
    """
    address = parse_base_url(base_url)
    endpoint = Endpoint.resolve(base_url, key_env) if send else Endpoint(address, "", key_env)
    cap = read_cap(None if max_cost is None else str(max_cost))
    price_table = read_prices(Path(prices)) if prices is not None else {}
    price = price_of(config.model, price_table, on_this_machine=is_on_this_machine(address))
    if cap is not None and price is None:
        raise ConfigError(
            f"max-cost: the price of {config.model!r} is unknown, expected a known price. "
            f'Give --prices with: ["{config.model}"], prompt = ..., answer = ... in US dollars per million tokens.'
        )
    plan = plan_requests(examples, labels, per_label=per_label, seed=seed)
    return AugmentJob(tuple(examples), labels, plan, endpoint, config.with_price(price, cap))


def augment(
    examples: Sequence[Example],
    labels: LabelSet,
    *,
    base_url: str,
    model: str,
    per_label: int = PER_LABEL,
    max_cost: str | Decimal | None = None,
    prices: str | os.PathLike[str] | None = None,
    key_env: str = KEY_ENV,
    seed: int = 13,
    cache_path: Path | None = None,
    progress: Progress = no_progress,
) -> AugmentResult:
    """Ask an LLM for further texts of each label; ``prepare`` has more settings.

    Args:
        examples: Real examples.
        labels: Their labels.
        base_url: OpenAI-compatible server, such as ``https://api.example.com/v1``.
        model: Name of the model on that server.
        per_label: Texts to request per label, from 1 to 100,000.
        max_cost: Maximum cost in US dollars; None for no cap.
        prices: TOML file with the price of each model, in US dollars per million tokens.
        key_env: Environment variable that holds the API key.
        seed: Random seed for choosing the examples in each prompt.
        cache_path: SQLite file that stores all paid answers; None to keep them in memory.
        progress: Called with the stage, the requests done and their total.

    Returns:
        The kept examples, the dropped ones with reasons, and the account of texts, tokens and cost.

    Raises:
        ConfigError: A setting is out of range, the key is missing, or a cap is given for a model without a price.
        DataError: The examples are pairs of texts.
        GenerationError: The server failed; all its answers are in the cache.
        RefusedLabelError: The LLM refused all texts of a label.
        AnswerCacheError: The file is not a cache of answers.
        ResourceError: The cache is in use or cannot be written.
        MissingExtraError: The openai package is not installed.
    """
    job = prepare(
        examples, labels, AugmentConfig(model), base_url=base_url, per_label=per_label, max_cost=max_cost, prices=prices,
        key_env=key_env, seed=seed,
    )  # fmt: skip
    return job.run(cache_path, progress=progress)
