"""The routes of one bundle. A reload makes new ones, so that the OpenAPI page always describes the bundle that is served."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from crosstune.core.errors import ConfigError, DataError, ResourceError
from crosstune.core.texts import refuse_control_characters
from crosstune_export import __version__
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.explanation import Explanation
from crosstune_export.runtime.prediction import Prediction
from crosstune_export.serve.body import read_body, require_unique_keys
from crosstune_export.serve.http_errors import INTERNAL_ERROR, HttpError, overloaded
from crosstune_export.serve.pages import docs_page, try_page
from crosstune_export.serve.schema import (
    BundleLabel,
    ClassifyResponse,
    ErrorResponse,
    HealthResponse,
    LabelsResponse,
    ReadyResponse,
    classify_request_model,
    parse_body,
)
from crosstune_export.serve.state import ServerState

_JSON = "application/json"
#: Characters and texts that a request may have classified before it is another client's turn.
TURN_CHARACTERS, TURN_TEXTS = 16_384, 32
_ERROR_DESCRIPTIONS = {
    400: "The body is not JSON or has a duplicate key, or the request is not plain HTTP/1.1.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    421: "The Host header names another machine than this one.",
    415: "The content type is not application/json.",
    422: "A value is invalid; `field` names it.",
    431: "The headers are too many or too large.",
    503: "The server is overloaded, or has too little memory for the request. `Retry-After` says when to try again.",
}
_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "model": ErrorResponse} for status, description in _ERROR_DESCRIPTIONS.items()
}


def bundle_app(classifier: Classifier, state: ServerState) -> FastAPI:
    """Make the routes of a bundle.

    Args:
        classifier: The bundle.
        state: The server that the routes belong to.
    """
    manifest = classifier.manifest
    app = FastAPI(
        title=f"CrossTune: {manifest.name}",
        version=__version__,
        description=f"Classifies {'pairs of texts' if manifest.text_pair else 'texts'} into {len(manifest.labels)} labels.",
        docs_url=None,  # these pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the client's Host header
    )
    app.add_exception_handler(HttpError, _error_response)
    app.add_exception_handler(HTTPException, _routing_error_response)
    app.add_exception_handler(MemoryError, _too_large_response)
    app.add_exception_handler(ResourceError, _too_large_response)
    app.add_exception_handler(Exception, _internal_error_response)
    example = _add_classify(app, classifier, state)
    _add_status_routes(app, state)
    labels_response = LabelsResponse(
        digest=manifest.digest,
        labels=[BundleLabel(name=label.name, descriptions=list(label.descriptions)) for label in manifest.labels],
    )

    @app.get("/v1/labels", response_model=LabelsResponse)
    async def labels() -> LabelsResponse:
        """The labels and their descriptions, in the order of the bundle."""
        return labels_response

    @app.get("/", include_in_schema=False)
    async def try_it() -> Response:
        return try_page(manifest)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return docs_page(app.openapi(), example)

    return app


def _add_classify(app: FastAPI, classifier: Classifier, state: ServerState) -> dict[str, Any]:
    """Add the route of ``/v1/classify``; returns an example of a request."""
    request_model = classify_request_model(classifier, state.limits)
    example_request, example_response = _example(classifier, request_model, state)
    body_schema = {"schema": request_model.model_json_schema(), "example": example_request}

    @app.post(
        "/v1/classify",
        response_model=ClassifyResponse,
        openapi_extra={"requestBody": {"required": True, "content": {_JSON: body_schema}}},
        responses={200: {"content": {_JSON: {"example": example_response}}}, **_ERROR_RESPONSES},
    )
    async def classify(request: Request) -> Response:
        """Classify texts. The other texts of a request change the probabilities of a text by no more than float32 rounding."""
        info = request.scope["request_info"]
        data = await read_body(request, state.limits, state.buffered_bytes, info.client)
        data = data.removeprefix(codecs.BOM_UTF8)
        body = parse_body(request_model, data)
        require_unique_keys(data)
        _refuse_control_characters(body.texts)
        if body.explain and len(body.texts) != 1:
            raise HttpError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"explain: found {len(body.texts)} texts, expected 1: the model runs once for each word.",
                field="explain",
            )
        info.texts = len(body.texts)
        try:
            answers = await (_explain if body.explain else _classify)(classifier, state, body, info.client)
        except TimeoutError:
            state.overrun()
            raise overloaded(
                f"server: the model runs longer than {state.limits.run_timeout_s:g} s, expected an answer by then. Send less text."
            ) from None
        state.metrics.count_texts(
            len(answers),
            truncated=sum(answer["truncated"] for answer in answers),
            abstained=sum(answer["label"] is None for answer in answers),
        )
        content = {"digest": classifier.manifest.digest, "answers": answers}
        return Response(json.dumps(content), media_type=_JSON)

    return example_request


def _add_status_routes(app: FastAPI, state: ServerState) -> None:
    @app.get("/health", response_model=HealthResponse)
    async def health() -> HealthResponse:
        """Whether the process is alive, and which bundle it serves."""
        return HealthResponse(status="ok", digest=state.served.digest, refused=state.served.refused)

    @app.get("/ready", response_model=ReadyResponse, responses={503: {"model": ReadyResponse}})
    async def ready(response: Response) -> ReadyResponse:
        """Whether to send requests to this server: not while it is shutting down."""
        if state.draining:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
            response.headers["retry-after"] = "1"
            return ReadyResponse(status="draining")
        return ReadyResponse(status="ready")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(state.metrics.page(), media_type=CONTENT_TYPE_LATEST)


async def _error_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    headers = {"content-type": _JSON, **error.headers}
    return Response(error.body(request.scope["request_info"].request_id), int(error.status), headers)


async def _too_large_response(request: Request, _: Exception) -> Response:
    message = "server: too little memory for this request, expected less text. Send less, or try again later."
    return await _error_response(request, overloaded(message))


async def _internal_error_response(request: Request, _: Exception) -> Response:
    return await _error_response(request, HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR))


async def _routing_error_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = "path: not served, expected POST /v1/classify or a path of /docs."
    elif request.url.path == "/v1/classify":
        message = "method: not served, expected POST with a JSON body. See /docs."
    else:
        message = "method: not served, expected GET. Texts go to POST /v1/classify. See /docs."
    http_error = HttpError(error.status_code, message, headers=error.headers)
    return await _error_response(request, http_error)


async def _classify(classifier: Classifier, state: ServerState, body: Any, client: str) -> list[dict[str, Any]]:  # noqa: ANN401
    """The JSON of a response. Many long texts take several turns, so that other clients come in between."""
    calls = [partial(_answers, classifier, body, texts, state.min_similarity) for texts in in_turns(body.texts)]
    with state.pending_texts.hold(client, len(body.texts)):
        return list(chain.from_iterable(await state.pool.run(client, *calls)))


async def _explain(classifier: Classifier, state: ServerState, body: Any, client: str) -> list[dict[str, Any]]:  # noqa: ANN401
    """The JSON of a response with an explanation, whose cost is known before it starts: the tokens of the text for each word."""
    limits = state.limits
    if not limits.explain:
        raise HttpError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "explain: found true, expected false on this server.", field="explain"
        )
    with state.pending_texts.hold(client, 1):
        (tokens,) = await state.pool.run(client, partial(_explain_tokens, classifier, body))
    if tokens > limits.max_explain_tokens:
        raise HttpError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"explain: takes {tokens} tokens, expected at most {limits.max_explain_tokens}: the model reads the text once for "
            "each word. Shorten the text.",
            field="explain",
        )
    with state.pending_explain_tokens.hold(client, tokens):
        call = partial(_answers, classifier, body, body.texts, state.min_similarity)
        return (await state.explain_pool.run(client, call))[0]


def _explain_tokens(classifier: Classifier, body: Any) -> int:  # noqa: ANN401
    try:
        return classifier.explain_tokens(body.texts[0])
    except DataError as error:  # its message may quote the tokenizer
        raise _unusable_text() from error


def _refuse_control_characters(texts: Sequence[object]) -> None:
    try:
        refuse_control_characters(texts)
    except DataError as error:
        field = str(error).partition(":")[0]
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), field=field) from error


def _unusable_text() -> HttpError:
    message = "texts: the bundle cannot classify one of them."
    return HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, message, field="texts")


def in_turns(texts: Sequence[Any]) -> list[list[Any]]:
    """Split texts, or pairs of texts: a part has one text, or as many as ``TURN_CHARACTERS`` and ``TURN_TEXTS`` allow."""
    parts: list[list[Any]] = [[]]
    room = TURN_CHARACTERS
    for text in texts:
        size = len(text) if isinstance(text, str) else sum(map(len, text))
        if parts[-1] and (size > room or len(parts[-1]) == TURN_TEXTS):
            parts.append([])
            room = TURN_CHARACTERS
        parts[-1].append(text)
        room -= size
    return parts


def _answers(
    classifier: Classifier,
    body: Any,  # noqa: ANN401
    texts: Sequence[Any],
    min_similarity: float | None,
) -> list[dict[str, Any]]:
    """The answers of a response, made in a thread of the pool."""
    results: Sequence[Prediction | Explanation]
    rule = {"threshold": body.threshold, "min_similarity": min_similarity}
    if body.min_similarity is not None:
        rule["min_similarity"] = body.min_similarity
    try:
        results = (
            [classifier.explain(text, **rule) for text in texts] if body.explain else classifier.classify(texts, **rule)
        )
    except ConfigError as error:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), field="min_similarity") from error
    except DataError as error:  # its message may quote the tokenizer
        raise _unusable_text() from error
    return [result.to_json(classifier.labels, body.top_k) for result in results]


def _example(
    classifier: Classifier, request_model: type[BaseModel], state: ServerState
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request with two descriptions as texts, within the limits, and the real response of this bundle."""
    limits = state.limits
    first, second = (label.descriptions[0][: limits.max_characters] for label in classifier.manifest.labels[:2])
    texts: list[Any] = [[first, second]] if classifier.manifest.text_pair else [first, second]
    top_k = min(2, len(classifier.labels))
    example = {"texts": texts[: limits.max_texts], "top_k": top_k}
    body: Any = request_model.model_validate(example)
    answers = _answers(classifier, body, body.texts, state.min_similarity)
    return example, {"digest": classifier.manifest.digest, "answers": answers}
