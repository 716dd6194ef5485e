"""Colours of policies and treatments, the same in every chart and safe for colour-blind readers (Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Iterable

from largesse.report.content import Results

__all__ = [
    "ARM",
    "CONTROL",
    "POLICY",
    "REFERENCE",
    "dark",
    "dot_rows",
    "faint",
    "near_right",
    "plain",
    "policy_colours",
    "shorten",
    "treatment_colours",
]

POLICY, REFERENCE, CONTROL, ARM = "#0072b2", "#d55e00", "#c9ced6", "#7b828c"
_OTHERS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#9a7d0a")
_LEVELS = ("#a6dcc0", "#56b8cf", "#2a8bc0", "#1b63a5", "#283f86")  # light to dark: treatments are often rising levels


def policy_colours(results: Results) -> dict[str, str]:
    """Returns the colour of each policy by name: the policy blue, the reference orange, the others in order."""
    names = [line.name for line in results.curves] + [row.policy for row in results.budgets]
    fixed = {results.reference: REFERENCE, results.policy: POLICY}
    others = [name for name in dict.fromkeys(names) if name not in fixed]
    return fixed | {name: _OTHERS[k % len(_OTHERS)] for k, name in enumerate(others)}


def treatment_colours(n: int) -> tuple[str, ...]:
    """Returns n colours: grey for control, then light to dark.

    >>> treatment_colours(2), len(treatment_colours(9))
    (('#c9ced6', '#2a8bc0'), 9)
    """
    if n <= 2:
        return (CONTROL, _LEVELS[2])[:n]
    return (CONTROL, *(_between_levels(k / (n - 2)) for k in range(n - 1)))


def _between_levels(share: float) -> str:
    at = share * (len(_LEVELS) - 1)
    k = min(int(at), len(_LEVELS) - 2)
    pairs = zip(_rgb(_LEVELS[k]), _rgb(_LEVELS[k + 1]), strict=True)
    return "#" + "".join(f"{round(a + (at - k) * (b - a)):02x}" for a, b in pairs)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def dark(colour: str) -> bool:
    """Returns whether white text reads better on this colour than black text."""
    red, green, blue = _rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140


def faint(colour: str, share: float) -> str:
    """Returns the colour at a share of its strength, as CSS."""
    return f"rgba({', '.join(map(str, _rgb(colour)))}, {share:g})"


def shorten(text: str, most: int = 42) -> str:
    """Returns the text on one line, cut to so many characters.

    >>> shorten("a  long name", 6)
    'a lon…'
    """
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def plain(text: str, most: int = 42) -> str:
    """Returns the text for a Plotly label: shortened, with its markup escaped."""
    return shorten(text, most).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def dot_rows(pairs: Iterable[tuple[str, str]]) -> tuple[list[float], dict[str, float]]:
    """Returns the height of each dot of a dot-and-interval chart, and the height of each group's label.

    Args:
        pairs: Group and name of each dot; a group takes one unit of height and the first group is at the top.

    >>> dot_rows([("10 %", "ours"), ("10 %", "theirs"), ("50 %", "ours")])
    ([0.15, -0.15, -0.85], {'10 %': 0.0, '50 %': -1.0})
    """
    pairs = list(pairs)
    groups = list(dict.fromkeys(group for group, _ in pairs))
    names = list(dict.fromkeys(name for _, name in pairs))
    gap = min(0.3, 0.72 / max(1, len(names) - 1))
    offset = {name: gap * ((len(names) - 1) / 2 - k) for k, name in enumerate(names)}
    heights = [round(offset[name] - groups.index(group), 6) for group, name in pairs]
    return heights, {group: 0.0 - k for k, group in enumerate(groups)}


def near_right(results: Results) -> list[bool]:
    """Returns for each arm whether it is near the right edge, so that its name must be on the left."""
    costs = [point.cost for point in results.arms]
    ends = costs + [cost for line in results.curves for cost in line.cost]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    return [cost - low > 0.8 * (high - low) for cost in costs]
