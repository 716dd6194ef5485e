"""Starts the studio: the server, its address, and the link that lets one browser in."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from threading import Thread
from urllib.parse import urlencode

import numpy as np
import uvicorn

from largesse import _check
from largesse.errors import LargesseError
from largesse.web.access import Access, is_loopback
from largesse.web.app import studio_app
from largesse.web.opened import Studio

__all__ = ["run_studio", "warm"]

_FEW = 1000  # units
_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def run_studio(
    studio: Studio, *, host: str = "127.0.0.1", port: int = 8750, reusable: bool = False, insecure: bool = False,
    started: Callable[[str], None] = lambda link: None,
) -> None:  # fmt: skip
    """Serves the studio until it is interrupted.

    Args:
        studio: What is open.
        host: The address to listen on. One that other machines reach needs a store with keys, or `insecure`.
        port: The port; 0: a free one.
        reusable: Whether the link lets in more than one browser.
        insecure: Whether cookies go over plain HTTP to an address that other machines reach.
        started: Called with the link when the server listens.

    Raises:
        DataError: The port is taken, or others could reach the studio and there are no keys.
    """
    local = is_loopback(host)
    if not local and studio.store is None:
        raise _check.refuse(
            "--host", host, "other machines reach it, and there are no keys to know them by",
            "Give --store, whose keys `largesse keys` makes, or leave --host out and use a tunnel.",
        )  # fmt: skip
    token = secrets.token_urlsafe(24) if local else None
    access = Access(token, None if local else _role_of(studio), reusable=reusable)
    app = studio_app(studio, access, hosts=_NAMES if local else None, secure=not local and not insecure)
    listening = _listening(host, port)
    shown = f"[{host}]" if ":" in host else host
    link = f"http://{shown}:{listening.getsockname()[1]}/"
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    Thread(target=warm, args=(studio,), daemon=True).start()
    started(link if token is None else f"{link}enter?{urlencode({'token': token})}")
    server.run(sockets=[listening])


def warm(studio: Studio) -> None:
    """Looks for the groups of the units and plans some under a rule, so that the first plan of a visitor waits for neither."""
    from largesse.allocate import Count, Spend, solve_under
    from largesse.web.pages.rules import rules_of_units

    for run in studio.runs.values():
        units = run.__dict__.get("population")
        if units is not None:
            _ = rules_of_units(run).groups
            menu = units.menu.take(np.arange(min(units.n, _FEW)))
            solve_under(
                menu, [Spend(at_most=float(menu.cost.sum()) / 4), Count(treatment=menu.treatments[-1], at_most=1.0)]
            )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise _check.refuse(
            "--port", port, f"cannot be used at {host} ({error.strerror})", "Give another one; 0 takes a free one."
        ) from error
    return listening


def _role_of(studio: Studio) -> Callable[[str], str | None]:
    """Returns a function that reads the role of a key from the store."""
    from largesse.serving import Ledger
    from largesse.serving.http.access import Keyring

    def role(key: str) -> str | None:
        assert studio.store is not None
        keyring = Keyring(True)
        try:
            with Ledger.open(studio.store, create=False) as ledger, ledger.engine.connect() as connection:
                keyring.renew(connection)
        except LargesseError:
            return None
        return keyring.role(key)

    return role
