"""The application of the studio: pages, their other forms, and who may see them."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from largesse import __version__
from largesse.errors import LargesseError
from largesse.web.access import COOKIE, Access, Session
from largesse.web.contents import PAGES, Page
from largesse.web.opened import Studio
from largesse.web.pages.money import run_of
from largesse.web.query import Query
from largesse.web.render import as_csv, as_json, as_markdown, as_slide, page_templates
from largesse.web.view import View, tables_of
from largesse.web.words import words

__all__ = ["studio_app"]

_log = logging.getLogger(__name__)
_ASSETS = {
    "report.css": ("largesse.report", "report.css", "text/css"),
    "studio.css": ("largesse.web", "static/studio.css", "text/css"),
    "studio.js": ("largesse.web", "static/studio.js", "text/javascript"),
    "htmx.min.js": ("largesse.web", "static/htmx.min.js", "text/javascript"),
    "plotly-basic.min.js": ("largesse.report", "vendor/plotly-basic.min.js", "text/javascript"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin", "cache-control": "no-store",
}  # fmt: skip
# Without any referrer, browsers would send the forms of these pages with the origin "null", as those of another site.
_MOST_BODY = 1 << 20  # bytes of a form
_SECOND = ("form", "table")  # parameters that choose another form of a page


def studio_app(studio: Studio, access: Access, *, hosts: frozenset[str] | None = None, secure: bool = False) -> FastAPI:
    """Returns the application.

    Args:
        studio: What is open.
        access: Who may see it.
        hosts: Names under which it may be called, so that no other site's name leads to it; None: any.
        secure: Whether browsers send the cookie over HTTPS only.
    """
    app = FastAPI(title="largesse studio", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.studio, app.state.access, app.state.secure = studio, access, secure

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        host = request.headers.get("host", "")
        if hosts is not None and host.rpartition(":")[0].strip("[]") not in hosts and host not in hosts:
            return PlainTextResponse(f"Host {host!r}: the studio is not reached by this name.\n", 421, _HEADERS)
        start = time.perf_counter()
        response = await call(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["server-timing"] = f"app;dur={1000 * (time.perf_counter() - start):.1f}"
        return response

    app.add_exception_handler(HTTPException, _of_status)
    app.add_exception_handler(Exception, _fault)
    app.add_api_route("/static/{version}/{name}", _static, methods=["GET"])
    app.add_api_route("/enter", _enter, methods=["GET"])
    app.add_api_route("/enter", _enter_with_key, methods=["POST"])
    app.add_api_route("/leave", _leave, methods=["POST"])
    app.add_api_route("/", _home, methods=["GET"])
    for page in PAGES:
        app.add_api_route(page.path, _shown(page), methods=["GET"], name=page.name)
        if page.act is not None:
            app.add_api_route(page.path, _acted(page), methods=["POST"], name=f"{page.name}-act")
    return app


# ---- who may see it


def _session(request: Request) -> Session | None:
    access: Access = request.app.state.access
    return access.session(request.cookies.get(COOKIE))


def _let_in(request: Request, cookie: str) -> Response:
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=request.app.state.secure, path="/")
    return response


def _door(request: Request, problem: str = "", status: int = 401) -> Response:
    access: Access = request.app.state.access
    page = page_templates().get_template("enter.html")
    return HTMLResponse(page.render(problem=problem, keys=access.role_of is not None, version=_version()), status)


async def _enter(request: Request, token: str = "") -> Response:
    cookie = request.app.state.access.enter(token) if token else None
    if cookie is None:
        return _door(request, words("enter.used") if token else "")
    return _let_in(request, cookie)


async def _enter_with_key(request: Request) -> Response:
    given = dict(await _form(request))
    cookie = await run_in_threadpool(request.app.state.access.enter_with_key, given.get("key", ""))
    return _door(request, words("enter.key.wrong"), 403) if cookie is None else _let_in(request, cookie)


async def _leave(request: Request) -> Response:
    session = _session(request)
    if session is not None and dict(await _form(request)).get("form") == session.form:
        request.app.state.access.leave(request.cookies.get(COOKIE))
    return RedirectResponse("/enter", 303)


async def _form(request: Request) -> list[tuple[str, str]]:
    """Returns the fields of a form; refuses one that is too large, or that another site sent."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        raise HTTPException(403, f"Origin {origin!r}: a form of another site is refused.")
    size = request.headers.get("content-length", "0")
    if not size.isdecimal() or int(size) > _MOST_BODY:
        raise HTTPException(413, f"The form has {size} bytes; {_MOST_BODY:,} are the most.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BODY:
            raise HTTPException(413, f"The form has more than {_MOST_BODY:,} bytes.")
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError as error:
        raise HTTPException(400, "The form cannot be read. Send it from the page.") from error


# ---- pages


async def _home(request: Request) -> Response:
    if _session(request) is None:
        return _door(request)
    pages = [page for page in PAGES if page.there(request.app.state.studio)]
    return RedirectResponse(pages[0].path, 303)


def _shown(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        session = _session(request)
        if session is None:
            return _door(request)
        return await run_in_threadpool(_page, request, page, session)

    return show


def _acted(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def act(request: Request) -> Response:
        session = _session(request)
        if session is None:
            return _door(request)
        given = await _form(request)
        if dict(given).get("form") != session.form:
            raise HTTPException(403, "The form is not one of this session. Load the page again.")
        if session.role != "admin":
            raise HTTPException(403, f"Your role is {session.role!r}; this needs 'admin'. Enter with another key.")
        assert page.act is not None
        query = Query([(name, value) for name, value in given if name != "form"])
        try:
            await run_in_threadpool(page.act, request.app.state.studio, query)
        except LargesseError as error:
            return _problem(request, page, Query(), session, str(error))
        return RedirectResponse(query.address(page.path, act=None), 303)

    return act


def _page(request: Request, page: Page, session: Session) -> Response:
    studio: Studio = request.app.state.studio
    form = request.query_params.get("form", "html")
    query = Query()
    try:
        query = Query([pair for pair in request.query_params.multi_items() if pair[0] not in _SECOND])
        view = page.view(studio, query)
        if form != "html":
            return _other_form(request, page, query, view, form)
    except LargesseError as error:
        if form != "html":
            return PlainTextResponse(f"{error}\n", 422)
        return _problem(request, page, query, session, str(error))
    target = request.headers.get("hx-target") if request.headers.get("hx-request") else None
    name = {"moving": "moving.html", "view": "view.html"}.get(target or "", "page.html")
    return HTMLResponse(
        page_templates().get_template(name).render(**_context(request, page, query, session), view=view)
    )


def _context(request: Request, page: Page, query: Query, session: Session) -> dict[str, Any]:
    studio: Studio = request.app.state.studio
    run = query.text("run", studio.first.name)
    own = {"run": run} if len(studio.runs) > 1 else {}
    carried = Query([(name, query.text(name)) for name in ("budget", "value", "cost", "safety") if query.text(name)])
    tables: dict[int, int] = {}

    def csv(table: Any) -> str:
        return query.address(page.path, form="csv", table=str(tables.setdefault(id(table), len(tables))))

    pages = [
        {"title": words(one.name), "here": one is page, "address": carried.address(one.path, **own)}
        for one in PAGES if one.there(studio)
    ]  # fmt: skip
    subject = studio.runs[run].config.report.title if run in studio.runs and not page.everywhere else ""
    return {
        "title": words(page.name), "question": words(f"{page.name}.question"), "subject": subject, "pages": pages,
        "path": page.path, "retry": page.retry, "everywhere": page.everywhere,
        "here": query.address(page.path), "runs": list(studio.runs), "run": run,
        "home": "/", "version": _version(), "secret": session.form, "leave": session.form,
        "may": lambda role: session.role in (role, "admin"), "csv": csv,
        "forms": {kind: query.address(page.path, form=kind) for kind in ("json", "md", "pdf", "png")},
    }  # fmt: skip


def _problem(request: Request, page: Page, query: Query, session: Session, problem: str) -> Response:
    target = request.headers.get("hx-target") if request.headers.get("hx-request") else None
    name = "problem.html" if target in ("moving", "view") else "problem_page.html"
    context = _context(request, page, query, session)
    back = page.path if query.pairs else ""
    shown = page_templates().get_template(name).render(**context, problem=problem, back=back, target=target or "view")
    return HTMLResponse(shown, 422)


def _other_form(request: Request, page: Page, query: Query, view: View, form: str) -> Response:
    title = words(page.name)
    if form == "json":
        return Response(as_json(title, view), media_type="application/json")
    if form in ("md", "pdf", "png"):
        run = run_of(request.app.state.studio, query)
        address = str(request.url.replace(query=query.address("").lstrip("?")))
        when = time.strftime("%Y-%m-%d %H:%M")
        source = words("source", run=run.name, version=__version__, when=when, address=address)
        if form == "md":
            return _file(as_markdown(title, view, source).encode(), f"{page.name}.md", "text/markdown; charset=utf-8")
        media = {"pdf": "application/pdf", "png": "image/png"}[form]
        shown = as_slide(f"{run.config.report.title}: {title}", view, source, "pdf" if form == "pdf" else "png")
        return _file(shown, f"{page.name}.{form}", media)
    if form == "csv":
        tables, number = tables_of(view), request.query_params.get("table", "0")
        if not number.isdecimal() or int(number) >= len(tables):
            return PlainTextResponse(f"table == {number!r}: the page has {len(tables)} tables, numbered from 0.\n", 404)
        return _file(
            as_csv(tables[int(number)]).encode(), f"{page.name}-{int(number) + 1}.csv", "text/csv; charset=utf-8"
        )
    if form == "toml" and view.rules:
        return _file(view.rules.encode(), "rules.toml", "application/toml")
    return PlainTextResponse(
        f"form == {form!r}: must be one of html, json, md, csv, pdf, png, and toml where the page has rules.\n", 422
    )


def _file(content: bytes, name: str, media: str) -> Response:
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
    return Response(content, media_type=media, headers=headers)


async def _of_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, _HEADERS)


async def _fault(request: Request, error: Exception) -> Response:
    _log.error("a fault at %s", request.url.path, exc_info=error)
    return PlainTextResponse("The studio has a fault; its terminal shows it.\n", 500, _HEADERS)


# ---- files


async def _static(version: str, name: str) -> Response:
    if name not in _ASSETS:
        raise HTTPException(404, f"{name}: there is no such file.")
    content, media = _asset(name)
    return Response(content, media_type=media, headers={"cache-control": "public, max-age=31536000, immutable"})


@cache
def _asset(name: str) -> tuple[bytes, str]:
    package, place, media = _ASSETS[name]
    return resources.files(package).joinpath(place).read_bytes(), media


@cache
def _version() -> str:
    """Returns a name that changes with the files, so that browsers keep them as long as they are the same."""
    return hashlib.sha256(b"".join(_asset(name)[0] for name in _ASSETS)).hexdigest()[:12]
