"""A visitor of a studio, in process: a browser without scripts, which has opened the link."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from largesse.web.access import Access
from largesse.web.app import studio_app
from largesse.web.opened import Studio

__all__ = ["TOKEN", "Visitor", "visitor"]

TOKEN = "the-token"
BASE = "http://127.0.0.1:8750"


class Visitor:
    """Asks an application for pages, and keeps its cookies.

    Args:
        app: The application.
        quiet: Whether a fault is an answer, as for a browser, and not an error of the test.
    """

    def __init__(self, app: Any, *, quiet: bool = False) -> None:
        self.app, self.quiet, self.cookies = app, quiet, httpx.Cookies()

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self._ask("GET", path, **how)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self._ask("POST", path, **how)

    def _ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        how.setdefault("follow_redirects", True)

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=not self.quiet)
            async with httpx.AsyncClient(transport=transport, base_url=BASE, cookies=self.cookies) as client:
                got = await client.request(method, path, **how)
                self.cookies = client.cookies
                return got

        return asyncio.run(ask())


def visitor(studio: Studio, *, role: str = "admin", enters: bool = True) -> Visitor:
    """Returns a visitor of a studio, by the link or, with another role, by a key."""
    access = Access(TOKEN) if role == "admin" else Access(None, lambda key: role)
    client = Visitor(studio_app(studio, access, hosts=frozenset({"127.0.0.1", "localhost"})))
    if enters and role == "admin":
        client.get("/enter", params={"token": TOKEN})
    elif enters:
        client.post("/enter", data={"key": "any"})
    return client
