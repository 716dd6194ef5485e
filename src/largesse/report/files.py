"""Writes a report: everything is made first, then each file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from largesse._files import atomic_bytes
from largesse.report import pictures
from largesse.report.content import Results
from largesse.report.markdown import markdown
from largesse.report.page import page

__all__ = ["Written", "picture", "write"]


class Written(NamedTuple):
    """The files of a report; None where there was nothing to draw."""

    html: Path
    summary: Path
    cost_curve: Path | None
    value_at_budgets: Path | None
    mix: Path | None


def write(results: Results, folder: str | Path) -> Written:
    """Writes report.html, summary.md and the pictures into a folder (made if it is missing), and returns their paths.

    A picture of an earlier report that this one does not have is removed.
    """
    folder = Path(folder)
    drawn = {
        "cost_curve.png": pictures.cost_curve_png(results) if results.curves or results.arms else None,
        "value_at_budgets.png": pictures.budgets_png(results) if results.budgets else None,
        "mix.png": pictures.mix_png(results.mix) if results.mix else None,
    }
    titles = dict(zip(drawn, ("Cost curve", "Value at budgets", "Who gets what"), strict=True))
    summary = markdown(results, [(titles[name], name) for name, data in drawn.items() if data])
    files = {"report.html": page(results).encode(), "summary.md": summary.encode(), **drawn}
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path | None] = []
    for name, data in files.items():
        if data is None:
            (folder / name).unlink(missing_ok=True)
        paths.append(None if data is None else atomic_bytes(folder / name, data))
    return Written(*paths)  # type: ignore[arg-type]  # the first two are always written


def picture(results: Results, path: str | Path) -> Path:
    """Writes the cost curve as a PNG, readable 800 pixels wide, and returns its path."""
    return atomic_bytes(Path(path), pictures.cost_curve_png(results))
