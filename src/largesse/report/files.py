"""Writes a report: everything is rendered first, then each file is written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from largesse._arguments import checked
from largesse._files import PathLike, atomic_bytes
from largesse.report.blocks import Section
from largesse.report.content import Headline, Results
from largesse.report.markdown import markdown
from largesse.report.page import document
from largesse.report.sections import sections

__all__ = ["picture", "write", "write_report"]


@checked
def write(results: Results, folder: PathLike) -> dict[str, Path]:
    """Writes report.html, summary.md and the pictures into a folder, which is made if it is missing.

    A picture of an earlier report that the new one lacks is removed.

    Returns:
        File name → path of every file that was written.

    Raises:
        StoreError: A file cannot be written.
    """
    from largesse.report import pictures

    images = {
        "cost_curve.png": pictures.cost_curve_png(results) if results.curves or results.arms else None,
        "value_at_budgets.png": pictures.budgets_png(results) if results.budgets else None,
        "mix.png": pictures.mix_png(results.mix) if results.mix else None,
    }
    return write_report(results.headline, sections(results), images, folder)


def write_report(
    headline: Headline, parts: Sequence[Section], pictures: Mapping[str, bytes | None], folder: PathLike
) -> dict[str, Path]:
    """Writes report.html, summary.md and pictures for any kind of report.

    Args:
        headline: The first paragraph.
        parts: The sections.
        pictures: File name → picture; None: there is none, and an older one is removed.
        folder: Made if it is missing.
    """
    place = Path(folder)
    images = {name: data for name, data in pictures.items() if data}
    files = {
        "report.html": document(headline, parts).encode(), "summary.md": markdown(headline, parts, images).encode(), **images
    }  # fmt: skip
    place.mkdir(parents=True, exist_ok=True)
    for name in set(pictures) - set(images):
        (place / name).unlink(missing_ok=True)
    return {name: atomic_bytes(place / name, data) for name, data in files.items()}


@checked
def picture(results: Results, path: PathLike) -> Path:
    """Writes the cost curve as a PNG, readable 800 pixels wide, and returns its path."""
    from largesse.report import pictures

    return atomic_bytes(Path(path), pictures.cost_curve_png(results))
