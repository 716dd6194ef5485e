"""The page Experiment: the report of an experiment, as its folder keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from largesse import _check
from largesse.commands.experiment import MARKER
from largesse.errors import StoreError
from largesse.report.kept import Kept, kept_sections
from largesse.report.numbers import count, percent
from largesse.web.kept import blocks_of_report
from largesse.web.opened import Studio
from largesse.web.query import Query
from largesse.web.view import Drawn, Field, Reading, Shown, View
from largesse.web.words import words

__all__ = ["PATH", "view"]

PATH = "/experiment"


def view(studio: Studio, query: Query) -> View:
    """Returns the page; a folder that is no experiment is said to be none, beside the choice of another one.

    Raises:
        DataError: There is no such experiment.
    """
    folders = dict(_named(studio.experiments))
    name = query.text("experiment", next(iter(folders)))
    if name not in folders:
        raise _check.refuse("experiment", name, "is not open here", f"Open are {', '.join(map(repr, folders))}.")
    fields = _fields(tuple(folders), name)
    try:
        effects, kept = _read(folders[name])
    except StoreError as error:
        return View(headline=words("experiment.none", name=name), action=str(error), fields=fields)
    first = kept.headline
    return View(
        headline=first.sentence, summary=first.summary, action=first.action, readings=_readings(effects),
        fixed=tuple(_opened(block) for block in blocks_of_report(kept.sections)), fields=fields,
        links=tuple((section.title, f"#{section.anchor}") for section in kept.sections),
        document={"experiment": name, "title": first.title, "effects": effects},
    )  # fmt: skip


def _named(folders: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Returns each folder with its name; the whole path where two have the same."""
    several = [folder.resolve() for folder in folders]
    names = [folder.name for folder in several]
    return [
        (folder.name if names.count(folder.name) == 1 else str(folder), given)
        for folder, given in zip(several, folders, strict=True)
    ]


def _read(folder: Path) -> tuple[Mapping[str, Any], Kept]:
    """Returns the effects and the report of a folder.

    Raises:
        StoreError: It is none of an experiment, is damaged, or was written by an earlier version.
    """
    place = folder / MARKER
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder. Check its path, then start the studio again.")
    if not place.is_file():
        other = "It is a run: name it first, without --experiment. " if (folder / "config.toml").is_file() else ""
        raise StoreError(
            f"{folder}: has no {MARKER}. {other}Give a folder that `largesse experiment DATA -o FOLDER` wrote."
        )
    try:
        effects = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{place}: is damaged. Run `largesse experiment` again.") from error
    kept = kept_sections(folder)
    if kept is None:
        raise StoreError(f"{folder}: was written by an earlier version. Run `largesse experiment` again.")
    return effects if isinstance(effects, dict) else {}, kept


def _opened(block: Shown) -> Shown:
    """Returns a chart with its table in sight: the effects are read in the table."""
    return replace(block, opened=True) if isinstance(block, Drawn) else block


def _fields(names: tuple[str, ...], name: str) -> tuple[Field, ...]:
    if len(names) < 2:
        return ()
    options = tuple((one, one) for one in names)
    return (Field(name="experiment", label=words("experiment"), value=name, kind="choice", options=options),)


def _readings(effects: Mapping[str, Any]) -> tuple[Reading, ...]:
    """Returns the arms with their rows, and the level of the intervals."""
    metrics = effects.get("metrics")
    first = metrics[0] if isinstance(metrics, list) and metrics and isinstance(metrics[0], dict) else {}
    rows, out = first.get("rows"), list[Reading]()
    if isinstance(rows, dict) and (total := sum(rows.values())) > 0:
        out.append(Reading(words("experiment.rows"), count(total)))
        out += [Reading(str(arm), count(n), percent(n / total)) for arm, n in rows.items()]
    if isinstance(effects.get("level"), int | float):
        out.append(Reading(words("experiment.level"), percent(effects["level"])))
    return tuple(out)
