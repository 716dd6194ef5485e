"""One answer on one page, for a slide or a ticket: the sentence, its numbers, a curve, and where they are from; PDF or PNG."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from largesse.report.blocks import Badge, Tone

__all__ = ["Curve", "Slide", "slide"]

_INK, _QUIET, _RULE, _BLUE, _ORANGE = "#1c2128", "#5b6470", "#dfe3e8", "#0072b2", "#d55e00"
_TONES = {
    Tone.GOOD: ("#0b6b4f", "#e0f3ec"), Tone.MIND: ("#7a5200", "#fdf1d8"), Tone.BAD: ("#a32d0f", "#fde6df"),
    Tone.NONE: (_QUIET, "#f5f7f9"),
}  # fmt: skip
_SIZE = (13.333, 7.5)  # inches: 16 to 9
_LONGEST = 320  # characters of a sentence
_MOST = 8  # facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line with its band and another one beside it, (K,) each; NaN leaves a gap.

    Attributes:
        x: Where the points are, rising.
        y: The line.
        low: Lower end of its interval.
        high: Upper end.
        other: The other line.
        names: Names of the two lines.
        x_title: Title of the x-axis, with its unit.
        y_title: Title of the y-axis, with its unit.
        mark: The amount that the page is about.
    """

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    other: Sequence[float]
    names: tuple[str, str]
    x_title: str
    y_title: str
    mark: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """What a page says.

    Attributes:
        title: Name of the campaign or run.
        sentence: The answer.
        badge: A verdict; None: none.
        notes: Further sentences.
        facts: Name, value and detail of each number; the first eight are shown.
        curve: A curve; None: none.
        source: Where the numbers are from.
    """

    title: str
    sentence: str
    badge: Badge | None = None
    notes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str, str], ...] = ()
    curve: Curve | None = None
    source: str = ""


def slide(content: Slide, form: Literal["pdf", "png"]) -> bytes:
    """Returns a page in landscape, 16 to 9.

    Args:
        content: What it says.
        form: ``"pdf"`` or ``"png"`` (2,000 pixels wide).
    """
    figure = Figure(figsize=_SIZE, dpi=150, facecolor="white")
    out = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)  # shows a box
        bottom = _words(figure, content)
        _facts(figure, content, bottom)
        if content.curve is not None:
            _curve(figure.add_axes((0.57, 0.17, 0.38, bottom - 0.25)), content.curve)
        if form == "pdf":
            about = {"Title": content.title, "Creator": "largesse", "CreationDate": None}
            FigureCanvasPdf(figure).print_pdf(out, metadata=about)  # type: ignore[no-untyped-call]
        else:
            FigureCanvasAgg(figure).print_png(out, metadata={"Title": content.title})  # type: ignore[no-untyped-call]
    return out.getvalue()


def _plain(text: str) -> str:
    return text.replace("$", r"\$").replace("`", "")


def _words(figure: Figure, content: Slide) -> float:
    """Writes title, verdict, answer and source; returns the height that is left below."""
    left, top = 0.05, 0.93
    figure.text(left, top, _plain(textwrap.shorten(content.title, 100)), color=_QUIET, fontsize=14, va="top")
    top -= 0.055
    if content.badge is not None:
        ink, ground = _TONES[content.badge.tone]
        box = {"boxstyle": "round,pad=0.35", "facecolor": ground, "edgecolor": "none"}
        figure.text(
            left + 0.008,
            top - 0.005,
            _plain(content.badge.text),
            color=ink,
            fontsize=15,
            weight="bold",
            va="top",
            bbox=box,
        )
        top -= 0.075
    lines = textwrap.wrap(textwrap.shorten(content.sentence, _LONGEST, placeholder=" …"), 64)
    figure.text(left, top, _plain("\n".join(lines)), color=_INK, fontsize=21, weight="bold", va="top", linespacing=1.25)
    top -= 0.054 * len(lines) + 0.012
    for note in content.notes[:2]:
        lines = textwrap.wrap(textwrap.shorten(note, _LONGEST, placeholder=" …"), 122)
        figure.text(left, top, _plain("\n".join(lines)), color=_QUIET, fontsize=12.5, va="top", linespacing=1.3)
        top -= 0.034 * len(lines) + 0.008
    source = "\n".join(textwrap.wrap(content.source, 150))
    figure.text(left, 0.035, _plain(source), color=_QUIET, fontsize=9, va="bottom")
    return top - 0.02


def _facts(figure: Figure, content: Slide, top: float) -> None:
    """Writes the numbers, two in a row beside a curve, else four."""
    columns, wide = (2, 0.245) if content.curve is not None else (4, 0.225)
    rows = -(-len(content.facts[:_MOST]) // columns) or 1
    tall = min(0.15, (top - 0.12) / rows)
    for k, (name, value, detail) in enumerate(content.facts[:_MOST]):
        x, y = 0.05 + wide * (k % columns), top - 0.02 - tall * (k // columns)
        figure.text(x, y, _plain(textwrap.shorten(name, 44, placeholder=" …")), color=_QUIET, fontsize=11.5, va="top")
        figure.text(x, y - 0.03, _plain(value), color=_INK, fontsize=22, weight="bold", va="top")
        figure.text(
            x, y - 0.085, _plain(textwrap.shorten(detail, 46, placeholder=" …")), color=_QUIET, fontsize=10, va="top"
        )


def _curve(axes: Axes, curve: Curve) -> None:
    axes.axhline(0, color="#a3abb5", linewidth=1)
    axes.fill_between(curve.x, curve.low, curve.high, color=_BLUE, alpha=0.17, linewidth=0)
    axes.plot(curve.x, curve.y, color=_BLUE, linewidth=2.6, label=_plain(curve.names[0]))
    axes.plot(curve.x, curve.other, color=_ORANGE, linewidth=1.8, linestyle="--", label=_plain(curve.names[1]))
    axes.axvline(curve.mark, color=_INK, linewidth=1.5)
    axes.set_xlabel(_plain(curve.x_title), color=_INK, fontsize=11)
    axes.set_ylabel(_plain(curve.y_title), color=_INK, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b5bcc5")
    axes.tick_params(colors=_QUIET, labelsize=10, length=3)
    axes.grid(color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, fontsize=10.5, labelcolor=_INK)
