"""The HTTP interface of one bundle; a reload makes a new one, so the OpenAPI page is always that of the bundle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from crosstune_export import Classifier, DataError, Explanation, Prediction, __version__
from crosstune_export.serve.body import read_body, require_unique_keys
from crosstune_export.serve.http_errors import Refusal
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.schema import (
    ClassifyAnswer,
    ErrorAnswer,
    HealthAnswer,
    Label,
    LabelsAnswer,
    ReadyAnswer,
    checked,
    request_model,
)
from crosstune_export.serve.state import Desk

_JSON = "application/json"
_REFUSALS = {
    400: "The body is not JSON or has a key twice, or the request is not plain HTTP/1.1.",
    408: "The request did not come in time; the body of this answer is empty.",
    413: "The body is too large.",
    415: "The content type is not application/json.",
    422: "A value is wrong; `field` names it.",
    431: "Too many headers.",
    503: "Too much is pending, or the server is stopping. `Retry-After` says when to come again.",
}


def bundle_app(classifier: Classifier, desk: Desk) -> FastAPI:
    """The routes of a bundle.

    Args:
        classifier: Answers.
        desk: The rest of the server.
    """
    manifest = classifier.manifest
    app = FastAPI(
        title=f"CrossTune: {manifest.name}",
        version=__version__,
        description=f"Classifies {'pairs of texts' if manifest.text_pair else 'texts'} into {len(manifest.labels)} labels.",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be made of the client's Host header
    )
    body_model = request_model(classifier, desk.limits)
    example, example_answer = _example(classifier, body_model, desk.limits)
    body_schema = {"required": True, "content": {_JSON: {"schema": body_model.model_json_schema(), "example": example}}}
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"description": text, **({"model": ErrorAnswer} if status != 408 else {})}
        for status, text in _REFUSALS.items()
    }

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        headers = {"content-type": _JSON, **refusal.headers}
        return Response(refusal.body(request.scope["exchange"].request_id), int(refusal.status), headers)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        wanted = "a path of the OpenAPI page" if error.status_code == HTTPStatus.NOT_FOUND else "another method"
        return await refused(
            request, Refusal(error.status_code, f"path: not served, expected {wanted}.", headers=error.headers)
        )

    @app.post(
        "/v1/classify",
        response_model=ClassifyAnswer,
        openapi_extra={"requestBody": body_schema},
        responses={200: {"content": {_JSON: {"example": example_answer}}}, **refusals},
    )
    async def classify(request: Request) -> Response:
        """Label texts. The other texts of a request change the answer to a text by no more than rounding in float32."""
        data = await read_body(request, desk.limits.max_body_bytes, desk.body_bytes)
        wanted = checked(body_model, data)
        require_unique_keys(data)
        _require_one_text(wanted)
        request.scope["exchange"].texts = len(wanted.texts)
        with desk.texts.hold(desk.limits.max_texts if wanted.explain else len(wanted.texts)):
            content = await asyncio.get_running_loop().run_in_executor(desk.pool, _answers, classifier, wanted)
        answers = content["answers"]
        desk.metrics.classified(
            len(answers), sum(item["truncated"] for item in answers), sum(item["label"] is None for item in answers)
        )
        return Response(json.dumps(content), media_type=_JSON)

    @app.get("/v1/labels", response_model=LabelsAnswer)
    async def labels() -> LabelsAnswer:
        """The labels and what they mean, in the order of the bundle."""
        return labels_answer

    @app.get("/health", response_model=HealthAnswer)
    async def health() -> HealthAnswer:
        """Whether the process is alive, and which bundle answers."""
        return HealthAnswer(status="ok", digest=desk.digest, refused=desk.refused)

    @app.get("/ready", response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}})
    async def ready(response: Response) -> ReadyAnswer:
        """Whether to send requests here: no longer once the server is stopping."""
        if desk.doorway.draining:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
            response.headers["retry-after"] = "1"
            return ReadyAnswer(status="draining")
        return ReadyAnswer(status="ready")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters in the text format of Prometheus."""
        return Response(desk.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    labels_answer = LabelsAnswer(
        digest=manifest.digest,
        labels=[Label(name=entry.name, descriptions=list(entry.descriptions)) for entry in manifest.labels],
    )
    return app


def _require_one_text(wanted: Any) -> None:  # noqa: ANN401
    if wanted.explain and len(wanted.texts) != 1:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"explain: found {len(wanted.texts)} texts, expected 1: each word of it is a run.",
            field="explain",
        )


def _answers(classifier: Classifier, wanted: Any) -> dict[str, Any]:  # noqa: ANN401
    """The JSON of an answer, made in a thread of the pool."""
    found: Sequence[Prediction | Explanation]
    try:
        if wanted.explain:
            found = [classifier.explain(text, threshold=wanted.threshold) for text in wanted.texts]
        else:
            found = classifier.classify(wanted.texts, threshold=wanted.threshold)
    except DataError as error:  # its message may quote the tokenizer
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY, "texts: the bundle cannot classify one of them.", field="texts"
        ) from error
    answers = [answer.to_json(classifier.labels, wanted.top_k) for answer in found]
    return {"digest": classifier.manifest.digest, "answers": answers}


def _example(
    classifier: Classifier, body_model: type[BaseModel], limits: ServeLimits
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request made of two descriptions, as far as the limits allow, and what this bundle really answers."""
    first, second = (entry.descriptions[0][: limits.max_characters] for entry in classifier.manifest.labels[:2])
    texts: list[Any] = [[first, second]] if classifier.manifest.text_pair else [first, second]
    top_k = min(2, len(classifier.labels))
    example = {"texts": texts[: limits.max_texts], "top_k": top_k}
    return example, _answers(classifier, body_model.model_validate(example))
