"""The contents of the studio: its pages, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from largesse.web.opened import Studio
from largesse.web.pages import budget, compare, data, experiment, live, proof, rules, unit, who
from largesse.web.query import Query
from largesse.web.view import View

__all__ = ["PAGES", "Page"]


class Page(NamedTuple):
    """A page.

    Attributes:
        name: Key of its words.
        path: Its address.
        view: Returns what it shows.
        there: Whether a studio has it.
        act: Does what its buttons ask for; None: it has none.
        everywhere: Whether it is about all runs, not about one.
        retry: Seconds after which a page that cannot be shown is tried again; 0: never.
    """

    name: str
    path: str
    view: Callable[[Studio, Query], View]
    there: Callable[[Studio], bool] = lambda studio: True
    act: Callable[[Studio, Query], None] | None = None
    everywhere: bool = False
    retry: int = 0


PAGES: tuple[Page, ...] = (
    Page("budget", budget.PATH, budget.view),
    Page("who", who.PATH, who.view),
    Page("rules", rules.PATH, rules.view),
    Page("unit", unit.PATH, unit.view),
    Page("proof", proof.PATH, proof.view),
    Page("compare", compare.PATH, compare.view, lambda studio: len(studio.runs) > 1, everywhere=True),
    Page(
        "experiment",
        experiment.PATH,
        experiment.view,
        lambda studio: bool(studio.experiments),
        everywhere=True,
    ),
    Page("data", data.PATH, data.view),
    Page(
        "live",
        live.PATH,
        live.view,
        lambda studio: studio.store is not None,
        live.act,
        everywhere=True,
        retry=live.REFRESH,
    ),
)
