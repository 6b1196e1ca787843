"""What goes in and out of ``POST /v1/classify``, checked by the same models that the OpenAPI page shows."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from crosstune_export import Classifier
from crosstune_export.serve.http_errors import Refusal
from crosstune_export.serve.limits import ServeLimits


class WordAnswer(BaseModel):
    """What one word says: how much the log-odds of each label lose without it."""

    word: str
    start: int = Field(ge=0, description="Where it begins, in code points of its text.")
    end: int = Field(ge=0, description="Where it ends.")
    of: str | None = Field(None, description="text or text_pair; with pairs only.")
    evidence: dict[str, float] = Field(description="By label; above 0 the word speaks for it.")


class Answer(BaseModel):
    """What the bundle says of one text."""

    label: str | None = Field(description="The most probable label; null where the bundle abstains.")
    prob: float = Field(ge=0, le=1, description="Probability of the most probable label.")
    probs: dict[str, float] = Field(description="Probabilities by label; with top_k the most probable ones.")
    truncated: bool = Field(description="Whether the text is longer than the bundle reads.")
    words: list[WordAnswer] | None = Field(None, description="With explain only.")


class ClassifyAnswer(BaseModel):
    """The answers, in the order of the texts."""

    digest: str = Field(description="Digest of the bundle that answered.")
    answers: list[Answer]


class Label(BaseModel):
    """One label of the bundle."""

    name: str
    descriptions: list[str]


class LabelsAnswer(BaseModel):
    """The labels, in the order of the bundle."""

    digest: str
    labels: list[Label]


class RefusedBundle(BaseModel):
    """A bundle that a reload did not take."""

    digest: str | None = Field(description="What it calls itself; null where not even that can be read.")
    error: str = Field(description="The kind of error; the log has its message.")


class HealthAnswer(BaseModel):
    """The process is alive."""

    status: str
    digest: str = Field(description="Digest of the bundle that answers.")
    refused: RefusedBundle | None = Field(description="The last reload, where it was refused.")


class ReadyAnswer(BaseModel):
    """Whether to send requests here."""

    status: str = Field(description="ready or draining")


class ErrorAnswer(BaseModel):
    """Any answer that is not a success."""

    error: str = Field(description="One line: where, found, expected. Never a piece of a text.")
    field: str | None = Field(description="The part of the body that is wrong.")
    request_id: str = Field(description="The same as the header x-request-id and in the log.")


def request_model(classifier: Classifier, limits: ServeLimits) -> type[BaseModel]:
    """The body of ``POST /v1/classify`` for one bundle."""
    text: Any = Annotated[str, StringConstraints(max_length=limits.max_characters)]
    pair: Any = Annotated[list[text], Field(min_length=2, max_length=2)]
    item: Any = pair if classifier.manifest.text_pair else text
    kind = "Pairs of texts" if classifier.manifest.text_pair else "Texts"
    fields: dict[str, Any] = {
        "texts": (Annotated[list[item], Field(max_length=limits.max_texts, description=f"{kind} to classify.")], ...),
        "top_k": (
            Annotated[int, Field(ge=1, le=len(classifier.labels), description="Only so many labels in probs.")] | None,
            None,
        ),
        "threshold": (
            Annotated[float, Field(ge=0, le=1, description="No label below this probability.")] | None,
            None,
        ),
        "explain": (
            Annotated[bool, Field(description="Also which words speak for which label; of one text a request.")],
            False,
        ),
    }
    return create_model(
        "ClassifyRequest", __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **fields
    )


def checked(model: type[BaseModel], data: bytes) -> Any:  # noqa: ANN401
    """A body that fits the model.

    One pass of pydantic's own parser, which bounds depth and digits. The worst two megabytes cost some tenths of a second,
    which is less than two megabytes of honest texts.

    Raises:
        Refusal: 400 where it is not JSON, else 422 with the first thing that is wrong; it names the field and quotes nothing.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "json_invalid":
        raise Refusal(HTTPStatus.BAD_REQUEST, f"body: {message}.")
    if first["type"] == "extra_forbidden":  # its name is the client's
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY, "body: an unknown key, expected texts, top_k, threshold and explain."
        )
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).removeprefix(".")
    raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where or 'body'}: {message}.", field=where or None)
