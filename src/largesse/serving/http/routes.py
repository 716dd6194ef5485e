"""The routes that are FastAPI's: outcomes, campaigns, policies, health and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from largesse.config.refusal import rule, short
from largesse.errors import DataError, LargesseError, StoreError
from largesse.serving.http import documents as d
from largesse.serving.http import metrics
from largesse.serving.http.challengers import (
    Challenger,
    check_challenger,
    put_challenger,
    remove_challenger,
    same_features,
)
from largesse.serving.http.decisions import Served
from largesse.serving.http.groups import Full
from largesse.serving.http.logs import log_fault
from largesse.serving.http.menus import Loaded, load_run, same_menu
from largesse.serving.http.problems import MEDIA, Problem, Refused, busy, of_error, of_status, refused
from largesse.serving.http.requests import Headers, parsed, read_body
from largesse.serving.http.service import Service, put_run
from largesse.serving.http.settings import moment
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.money import amount
from largesse.serving.ledger.runs import by_run
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import campaigns
from largesse.serving.ledger.terms import Campaign, Outcome, Receipt

__all__ = ["ROLE", "api"]

ROLE = {
    "/v1/outcomes": "decide", "/v1/campaigns": "report", "/v1/campaigns/{campaign}": "report",
    "/v1/campaigns/{campaign}/policy": "admin", "/v1/campaigns/{campaign}/challenger": "admin",
    "/v1/campaigns/{campaign}/runs": "report", "/v1/units/{unit}": "admin", "/metrics": "report",
}  # fmt: skip
"""Role that a route needs; `PATCH` needs "admin"."""
T = TypeVar("T", bound=BaseModel)
_Receipts = d.ReceiptDocument | list[d.ReceiptDocument | d.ProblemDocument]


def api() -> FastAPI:
    """Returns the application of these routes; `state.service` must be set before its first request."""
    app = FastAPI(title="largesse", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, _http_problem)
    for kind in (Refused, LargesseError, Exception):
        app.add_exception_handler(kind, _problem)
    plan: tuple[tuple[str, str, Callable[..., Any], str, Any], ...] = (
        ("POST", "/v1/outcomes", _outcomes, "Report what decisions brought and cost", _Receipts),
        ("GET", "/v1/campaigns", _campaigns, "All campaigns", list[d.CampaignDocument]),
        ("GET", "/v1/campaigns/{campaign}", _campaign, "One campaign", d.CampaignDocument),
        ("PATCH", "/v1/campaigns/{campaign}", _change, "Change a campaign", d.CampaignDocument),
        ("PUT", "/v1/campaigns/{campaign}/policy", _policy, "Let another run decide", d.PolicyDocument),
        ("PUT", "/v1/campaigns/{campaign}/challenger", _challenge, "Try another run beside", d.ChallengerDocument),
        ("DELETE", "/v1/campaigns/{campaign}/challenger", _unchallenge, "End the trial of a run", d.EndedDocument),
        ("GET", "/v1/campaigns/{campaign}/runs", _runs, "What each run decided, and what came of it", list[d.RunDocument]),
        ("DELETE", "/v1/units/{unit:path}", _erase, "Erase a unit", d.ErasedDocument),
        ("GET", "/healthz", _healthz, "Does the process live?", d.ReadyDocument),
        ("GET", "/readyz", _readyz, "Can it answer?", d.ReadyDocument),
    )  # fmt: skip
    for method, path, function, summary, model in plan:
        app.add_api_route(path, function, methods=[method], summary=summary, response_model=model)
    app.add_api_route("/metrics", _metrics, methods=["GET"], summary="Metrics for Prometheus", response_class=Response)
    return app


async def _outcomes(request: Request) -> Response:
    """One outcome, or a list. In a list each stands for itself: the answer has a receipt or a problem for each, in order."""
    service = _service(request, "decide")
    given = await _json(request, service.settings.batch_body)
    several = given if isinstance(given, list) else [given]
    if not several:
        return _answer([])
    slots: list[Any] = []
    for k, one in enumerate(several):
        try:
            slots.append(Outcome(**_validated(d.OutcomeDocument, one).model_dump()))
        except Refused as error:
            if several is not given:
                raise
            slots.append(error.problem._replace(field=f"[{k}].{error.problem.field}".rstrip(".")))
    sound = [one for one in slots if isinstance(one, Outcome)]
    try:
        results = await service.outcomes.submit(sound) if sound else []
    except Full:
        raise Refused(busy("Too many outcomes wait in this worker")) from None
    if isinstance(results, BaseException):
        raise results
    counted = iter(results)
    rows = [next(counted) if isinstance(one, Outcome) else one for one in slots]
    if several is not given:
        if isinstance(rows[0], DataError):
            raise rows[0]
        return _answer(rows[0]._asdict())
    out = [_row(row) for row in rows]
    return _answer(out, 207 if any("detail" in row for row in out) else 200)


def _row(result: Any) -> dict[str, Any]:
    if isinstance(result, Receipt):
        return result._asdict()
    return (result if isinstance(result, Problem) else of_error(result)).document()


async def _campaigns(request: Request) -> Response:
    """The campaigns that this server serves, with their money and counts."""
    service = _service(request, "report")
    names = sorted(service.names)
    return _answer([await run_in_threadpool(_document, service, service.served(name)) for name in names])


async def _campaign(request: Request, campaign: str) -> Response:
    """The money and counts of a campaign, all of one moment."""
    service = _service(request, "report")
    return _answer(await run_in_threadpool(_document, service, service.served(campaign)))


async def _change(request: Request, campaign: str) -> Response:
    """Changes budget, end, exploration or what is expected; each change is a line of the store's journal."""
    service = _service(request, "admin")
    one = service.served(campaign)
    change = _validated(d.CampaignChange, await _json(request, service.settings.body))
    return _answer(await run_in_threadpool(_changed, service, one, change.model_dump(exclude_unset=True)))


async def _policy(request: Request, campaign: str) -> Response:
    """Loads a run beside the old one, checks it, and lets it decide. All workers follow within seconds."""
    service = _service(request, "admin")
    one = service.served(campaign)
    change = _validated(d.PolicyChange, await _json(request, service.settings.body))
    return _answer(await run_in_threadpool(_switched, service, one, change.run))


async def _challenge(request: Request, campaign: str) -> Response:
    """Loads a run and checks it; then it decides for its share of the units that have no decision yet, or answers in the shadow.

    The share may be raised and lowered by the same request: a unit keeps the run that a larger share gave it.
    """
    service = _service(request, "admin")
    one = service.served(campaign)
    change = _validated(d.ChallengerChange, await _json(request, service.settings.body))
    return _answer(await run_in_threadpool(_challenged, service, one, change))


async def _unchallenge(request: Request, campaign: str) -> Response:
    """The champion decides for all units without a decision. Decisions that were made, and answers in the shadow, stay."""
    service = _service(request, "admin")
    one = service.served(campaign)
    removed = await run_in_threadpool(_ended, service, one.name)
    await run_in_threadpool(service.follow)
    return _answer({"campaign": one.name, "removed": removed})


async def _runs(request: Request, campaign: str) -> Response:
    """Decisions, spend, and predicted and reported value of each run. It reads the whole log of the campaign."""
    service = _service(request, "report")
    one = service.served(campaign)
    return _answer([run._asdict() for run in await run_in_threadpool(by_run, service.ledger, one.name)])


async def _erase(request: Request, unit: str) -> Response:
    """Removes id and features of a unit from every decision; sums, counts and the rows of the trial stay right."""
    service = _service(request, "admin")
    return _answer({"decisions": await run_in_threadpool(service.ledger.erase, unit)})


async def _healthz() -> Response:
    """The process lives."""
    return _answer({"status": "ok"})


async def _readyz(request: Request) -> Response:
    """The store answers, and every campaign has its run."""
    if why_not := await run_in_threadpool(request.app.state.service.ready):
        raise refused(503, f"{why_not} Wait until it can, or look into the log.", retry=2)
    return _answer({"status": "ok"})


async def _metrics(request: Request) -> Response:
    """Counts and times of all worker processes."""
    service = _service(request, "report")
    return Response(await run_in_threadpool(service.metrics.text), media_type=metrics.MEDIA)


def _service(request: Request, role: str) -> Service:
    service: Service = request.app.state.service
    service.keyring.check(_headers(request).authorization, role)
    return service


def _headers(request: Request) -> Headers:
    got: Headers = request.scope["largesse"]
    return got


async def _json(request: Request, most: int) -> Any:
    headers = _headers(request)
    if headers.media not in ("application/json", ""):
        raise refused(415, f"Content-Type is {headers.media[:60]!r}. Send application/json.")
    patience = request.app.state.service.settings.read_timeout
    return parsed(await read_body(request.receive, headers.length, most, patience))


def _validated(model: type[T], content: Any) -> T:
    """Returns a document, or raises Refused with the first field that violates a rule."""
    if not isinstance(content, dict):
        raise refused(422, f"The body must be one object with {', '.join(model.model_fields)}. Send such an object.")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])[:100]
        if first["type"] == "missing":
            raise refused(422, f"{field}: is missing. Add it to the body.", field) from None
        if first["type"] == "extra_forbidden":
            detail = f"{field}: is no field. The fields are {', '.join(model.model_fields)}."
            raise refused(422, detail, field) from None
        value = short(first["input"])
        raise refused(422, f"{field} == {value}: {rule(first)}. Correct it.", field, value) from None


def _terms(service: Service, name: str) -> Campaign:
    """Returns a campaign as it is in the store."""
    with reading(service.ledger.engine) as connection:
        row = connection.execute(sa.select(campaigns).where(campaigns.c.name == name)).one()
    campaign = terms_of(row.settings).campaign
    return replace(campaign, budget=amount(row.budget, campaign.scale), price=row.price)


def _document(service: Service, one: Served) -> dict[str, Any]:
    status, terms = service.ledger.status(one.name), _terms(service, one.name)
    shares = {"holdout": terms.holdout, "explore": terms.explore}
    about = {"treatments": list(one.treatments), "version": one.loaded.version, "challenger": _tried(one.challenger)}
    return status._asdict() | about | shares | {"until": moment(status.until)}


def _changed(service: Service, one: Served, change: dict[str, Any]) -> dict[str, Any]:
    kept = ("mix", "worst", "units")  # null has a meaning of its own for these
    fields = {name: got for name, got in change.items() if got is not None or name in kept}
    service.ledger.start(replace(_terms(service, one.name), **fields), keep_budget="budget" not in fields)
    return _document(service, one)


def _tried(one: Challenger | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"run": str(one.loaded.run), "version": one.loaded.version, "share": one.share, "shadow": one.shadow}


def _loaded(run: str) -> Loaded:
    try:
        return load_run(Path(run).expanduser().absolute())
    except StoreError as error:
        raise refused(422, f"run: {error}", "run", short(run)) from error


def _challenged(service: Service, one: Served, change: d.ChallengerChange) -> dict[str, Any] | None:
    if not change.share and not change.shadow:
        raise refused(422, "share == 0: the run would do nothing. Give a share, or shadow = true.", "share", "0")
    loaded = _loaded(change.run)
    check_challenger(one.loaded, loaded, one.name)
    engine, now = service.ledger.engine, service.ledger.clock()
    put_challenger(engine, one.name, loaded, share=change.share, shadow=change.shadow, now=now)
    service.follow()
    return _tried(service.served(one.name).challenger)


def _ended(service: Service, name: str, why: str = "") -> bool:
    return remove_challenger(service.ledger.engine, name, now=service.ledger.clock(), why=why)


def _switched(service: Service, one: Served, run: str) -> dict[str, Any]:
    loaded = _loaded(run)
    same_menu(one.treatments, loaded.policy, one.name)
    same_features(one.loaded, loaded, one.name)
    if one.challenger is not None and one.challenger.loaded.version == loaded.version:
        _ended(service, one.name, "promoted")
    put_run(service.ledger.engine, one.name, loaded, features=one.features, now=service.ledger.clock())
    service.follow()
    return {"campaign": one.name, "run": str(loaded.run), "version": loaded.version}


def _answer(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, allow_nan=False), status, media_type="application/json")


async def _http_problem(request: Request, error: Any) -> Response:
    allow = (error.headers or {}).get("Allow", "")
    words = {404: f"{request.url.path[:100]}: is no address of this service. See /openapi.json.",
             405: f"{request.method}: {request.url.path[:100]} has no such method. Use {allow}."}  # fmt: skip
    return _response(of_status(error.status_code, words.get(error.status_code, ""), allow=allow), request)


async def _problem(request: Request, error: Exception) -> Response:
    problem = of_error(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log_fault(error, _headers(request).request)
    return _response(problem, request)


def _response(problem: Problem, request: Request) -> Response:
    return Response(
        problem.body(_headers(request).request), problem.status, headers=problem.headers(), media_type=MEDIA
    )
