"""Requests and responses as pydantic models: they validate requests and describe both on the OpenAPI page."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from crosstune_export.runtime.classifier import Classifier
from crosstune_export.serve.http_errors import HttpError
from crosstune_export.serve.limits import ServeLimits


class WordEvidence(BaseModel):
    """The influence of one word: how much the log-odds of each label lose without it."""

    word: str
    start: int = Field(ge=0, description="Offset of its start, in code points of its text.")
    end: int = Field(ge=0, description="Offset of its end.")
    of: str | None = Field(None, description="text or text_pair; with pairs only.")
    evidence: dict[str, float] = Field(description="By label; above 0 the word speaks for it.")


class TextAnswer(BaseModel):
    """The prediction for one text."""

    label: str | None = Field(description="The most probable label; null if the bundle abstains.")
    prob: float = Field(ge=0, le=1, description="Probability of the most probable label.")
    probs: dict[str, float] = Field(description="Probabilities by label; with top_k only the most probable ones.")
    truncated: bool = Field(description="Whether the text is longer than the bundle reads.")
    similarity: float | None = Field(
        description="Similarity to the training texts: a cosine, raised for short texts; null if the bundle does not measure it."
    )
    words: list[WordEvidence] | None = Field(None, description="With explain only.")


class ClassifyResponse(BaseModel):
    """One answer for each text, in the order of the request."""

    digest: str = Field(description="Digest of the bundle that answered.")
    answers: list[TextAnswer]


class BundleLabel(BaseModel):
    """One label of the bundle."""

    name: str
    descriptions: list[str]


class LabelsResponse(BaseModel):
    """The labels, in the order of the bundle."""

    digest: str
    labels: list[BundleLabel]


class RefusedBundle(BaseModel):
    """A bundle that a reload refused."""

    digest: str | None = Field(description="The digest in its manifest; null if the manifest cannot be read.")
    error: str = Field(description="The class of the error; the log has its message.")


class HealthResponse(BaseModel):
    """The process is alive."""

    status: str
    digest: str = Field(description="Digest of the bundle that is served.")
    refused: RefusedBundle | None = Field(description="The last reload, if it was refused.")


class ReadyResponse(BaseModel):
    """Whether to send requests to this server."""

    status: str = Field(description="ready or draining")


class ErrorResponse(BaseModel):
    """Any response that is not a success."""

    error: str = Field(description="One line: where, found, expected. Never quotes a text.")
    field: str | None = Field(description="The part of the body that is wrong.")
    request_id: str = Field(description="The same as in the header x-request-id and in the log.")


def classify_request_model(classifier: Classifier, limits: ServeLimits) -> type[BaseModel]:
    """Make the model of the body of ``POST /v1/classify`` for one bundle."""
    text: Any = Annotated[str, StringConstraints(max_length=limits.max_characters)]
    pair: Any = Annotated[list[text], Field(min_length=2, max_length=2)]
    item: Any = pair if classifier.manifest.text_pair else text
    kind = "Pairs of texts" if classifier.manifest.text_pair else "Texts"
    fields: dict[str, Any] = {
        "texts": (
            Annotated[list[item], Field(max_length=limits.max_texts, description=f"{kind} to classify.")] | None,
            None,
        ),
        "text": (Annotated[item, Field(description="The only one to classify, instead of texts.")] | None, None),
        "top_k": (
            Annotated[
                int,
                Field(
                    ge=1,
                    le=(1 << 31) - 1,
                    description="Return only the k most probable labels; all if there are fewer.",
                ),
            ]
            | None,
            None,
        ),
        "threshold": (
            Annotated[float, Field(ge=0, le=1, description="Abstain below this probability.")] | None,
            None,
        ),
        "min_similarity": (
            Annotated[float, Field(ge=-1, le=1, description="Abstain below this similarity to the training texts.")]
            | None,
            None,
        ),
        "explain": (
            Annotated[bool, Field(description="Also return which words speak for each label; for one text only.")],
            False,
        ),
    }
    config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={"oneOf": [{"required": ["texts"]}, {"required": ["text"]}]},
    )
    return create_model("ClassifyRequest", __config__=config, **fields)


def parse_body(model: type[BaseModel], data: bytes) -> Any:  # noqa: ANN401
    """Parse and validate a JSON body.

    One pass of pydantic's own parser, which limits depth and digits. The most expensive 2 MiB take some tenths of a second,
    less than classifying 2 MiB of ordinary texts.

    Raises:
        HttpError: 400 if the body is not JSON, otherwise 422 with the first invalid value. The message names the field and
            quotes nothing.
    """
    try:
        body: Any = model.model_validate_json(data)
        if (body.texts is None) == (body.text is None):
            raise HttpError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                'body: expected either "texts", an array, or "text". See /docs.',
                field="texts",
            )
        return body if body.text is None else body.model_copy(update={"texts": [body.text]})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "json_invalid":
        raise HttpError(HTTPStatus.BAD_REQUEST, f"body: {message}.")
    if first["type"] == "extra_forbidden":  # the client chose its name, which may be a text
        raise HttpError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "body: found an unknown key, expected texts or text, top_k, threshold, min_similarity or explain.",
        )
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).removeprefix(".")
    raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where or 'body'}: {message}.", field=where or None)
