"""Writes a report: everything is rendered first, then each file is written whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path

from largesse._arguments import checked
from largesse._files import PathLike, atomic_bytes
from largesse._workers import Workers
from largesse.report.blocks import Section
from largesse.report.content import Headline, Results
from largesse.report.kept import KEPT, as_kept, of_kept
from largesse.report.markdown import markdown
from largesse.report.page import document
from largesse.report.sections import sections

__all__ = ["picture", "write", "write_report"]

_PICTURES, _PAGES = "pictures", "pages"
_CURVE, _BUDGETS, _MIX = _IMAGES = "cost_curve.png", "value_at_budgets.png", "mix.png"


@checked
def write(results: Results, folder: PathLike, workers: Workers | None = None) -> dict[str, Path]:
    """Writes report.html, summary.md, sections.json and the pictures into a folder, which is made if it is missing.

    A picture of an earlier report that the new one lacks is removed.

    Args:
        results: What the report shows.
        folder: Made if it is missing.
        workers: Processes that share the work with this one; None: there are none.

    Returns:
        File name → path of every file that was written.

    Raises:
        StoreError: A file cannot be written.
    """
    done: dict[str, dict[str, bytes]] = {}
    for what, files in (workers or Workers(1)).run(_rendered, results, (_PICTURES, _PAGES)):
        done[what] = files
    return _written(Path(folder), done[_PAGES] | done[_PICTURES], set(_IMAGES))


def _rendered(results: Results, what: str) -> dict[str, bytes]:
    """Returns the pictures, or the files that show them, by name."""
    mix = results.mix
    has = {_CURVE: results.curves or results.arms, _BUDGETS: results.budgets, _MIX: mix}
    if what == _PAGES:
        return _pages(results.headline, sections(results), [name for name, drawn in has.items() if drawn])
    from largesse.report import pictures

    files = {
        _CURVE: pictures.cost_curve_png(results) if has[_CURVE] else b"",
        _BUDGETS: pictures.budgets_png(results) if has[_BUDGETS] else b"",
        _MIX: pictures.mix_png(mix) if mix else b"",
    }
    return {name: data for name, data in files.items() if data}


def write_report(
    headline: Headline, parts: Sequence[Section], pictures: Mapping[str, bytes | None], folder: PathLike
) -> dict[str, Path]:
    """Writes report.html, summary.md, sections.json and pictures for any kind of report.

    Args:
        headline: The first paragraph.
        parts: The sections.
        pictures: File name → picture; None: there is none, and an older one is removed.
        folder: Made if it is missing.
    """
    images = {name: data for name, data in pictures.items() if data}
    return _written(Path(folder), _pages(headline, parts, images) | images, set(pictures))


def _pages(headline: Headline, parts: Sequence[Section], images: Collection[str]) -> dict[str, bytes]:
    kept = as_kept(headline, parts)
    drawn = of_kept(kept).sections  # each chart is drawn once, and the page shows what is kept
    return {
        "report.html": document(headline, drawn).encode(), "summary.md": markdown(headline, parts, images).encode(),
        KEPT: kept,
    }  # fmt: skip


def _written(place: Path, files: Mapping[str, bytes], images: Set[str]) -> dict[str, Path]:
    """Writes files, and removes those of `images` that are not among them."""
    place.mkdir(parents=True, exist_ok=True)
    for name in images - set(files):
        (place / name).unlink(missing_ok=True)
    return {name: atomic_bytes(place / name, data) for name, data in files.items()}


@checked
def picture(results: Results, path: PathLike) -> Path:
    """Writes the cost curve as a PNG, readable 800 pixels wide, and returns its path."""
    from largesse.report import pictures

    return atomic_bytes(Path(path), pictures.cost_curve_png(results))
