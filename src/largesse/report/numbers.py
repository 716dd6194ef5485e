"""Formats numbers for readers: sensible digits, one space before %, "out of reach" for NaN.

>>> percent_interval(0.94, 0.88, 1.0)
'94 % (88 to 100 %)'
>>> interval(0.15231, 0.1489, 0.1557), number(float("nan"))
('0.1523 (0.1489 to 0.1557)', 'out of reach')
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, inf, isfinite, isinf, isnan, log10
from statistics import median

from largesse import _check
from largesse.evaluate.intervals import FEW_EVENTS

__all__ = [
    "OUT_OF_REACH",
    "UNKNOWN",
    "between",
    "count",
    "duration",
    "interval",
    "number",
    "p_value",
    "percent",
    "percent_interval",
    "places",
    "resting",
]

OUT_OF_REACH = "out of reach"
UNKNOWN = "–"
_MOST_PLACES = 8


def places(widths: Iterable[float], digits: int = 2) -> int:
    """Returns the decimals that show the median of these sizes with so many digits; 2 if there are none.

    >>> places([0.0034, 0.0041, 0.0]), places([120.0]), places([])
    (4, 0, 2)
    """
    sizes = [abs(w) for w in widths if isfinite(w) and w != 0]
    if not sizes:
        return 2
    return min(_MOST_PLACES, max(0, digits - 1 - floor(log10(median(sizes)) + 1e-9)))


def number(x: float, *, decimals: int | None = None, sign: bool = False) -> str:
    """Returns a number with three significant digits, or with so many decimals.

    >>> number(0.15231), number(1234567.8), number(-0.0012, decimals=3, sign=True), number(0.0)
    ('0.152', '1,234,568', '−0.001', '0')
    """
    if isnan(x):
        return OUT_OF_REACH
    if isinf(x):
        return "∞" if x > 0 else "−∞"
    if x == 0 and decimals is None:
        return "0"
    shown = decimals if decimals is not None else places([x], 3)
    size = f"{abs(x):,.{shown}f}"
    zero = not any(c in "123456789" for c in size)
    return size if zero else ("−" if x < 0 else "+" if sign else "") + size


def between(low: float, high: float, *, decimals: int | None = None, sign: bool = False) -> str:
    """Returns ``"0.149 to 0.156"``; a dash if an end is NaN.

    >>> between(0.149, 0.156), between(float("nan"), 1.0)
    ('0.1490 to 0.1560', '–')
    """
    if isnan(low) or isnan(high):
        return UNKNOWN
    shown = decimals if decimals is not None else places([(high - low) / 2])
    return f"{number(low, decimals=shown, sign=sign)} to {number(high, decimals=shown, sign=sign)}"


def interval(x: float, low: float, high: float, *, decimals: int | None = None, sign: bool = False) -> str:
    """Returns ``"0.1523 (0.1489 to 0.1557)"``, with decimals that suit its width."""
    if isnan(x) or isnan(low) or isnan(high):
        return number(x, decimals=decimals, sign=sign)
    shown = decimals if decimals is not None else places([(high - low) / 2])
    return f"{number(x, decimals=shown, sign=sign)} ({between(low, high, decimals=shown, sign=sign)})"


def percent(x: float, *, decimals: int | None = None, sign: bool = False) -> str:
    """Returns a share in percent: two digits below ten percent, whole percents above.

    >>> percent(0.94), percent(0.034), percent(1.5), percent(0.0)
    ('94 %', '3.4 %', '150 %', '0 %')
    """
    if not isfinite(x):
        return number(x)
    shown = decimals if decimals is not None else 0 if x == 0 else places([100 * x])
    return f"{number(100 * x, decimals=shown, sign=sign)} %"


def resting(low: float, high: float, events: float, *, decimals: int | None = None, sign: bool = False) -> str:
    """Returns an interval and the effective number of events that it rests on, marked where these are few.

    >>> resting(0.012, 0.02, 310.2), resting(0.012, 0.3, 7.4)
    ('0.0120 to 0.0200, 310 events', '0.01 to 0.30, 7 events: few')
    """
    return between(low, high, decimals=decimals, sign=sign) + ("" if isnan(low) else rests_on(events))


def rests_on(events: float) -> str:
    """Returns what stands after an interval: the effective number of events that it rests on, marked where these are few.

    >>> rests_on(1.2), rests_on(float("nan"))
    (', 1 event: few', '')
    """
    if isnan(events):
        return ""
    few = ": few" if events < FEW_EVENTS else ""
    return f", {count(round(events))} event{'' if round(events) == 1 else 's'}{few}"


def percent_interval(x: float, low: float, high: float, *, sign: bool = False) -> str:
    """Returns ``"94 % (88 to 100 %)"``."""
    if isnan(x) or isnan(low) or isnan(high):
        return percent(x, sign=sign)
    shown = places([50 * (high - low)])
    shown = 0 if abs(high - low) >= 0.02 else shown
    return f"{percent(x, decimals=shown, sign=sign)} ({between(100 * low, 100 * high, decimals=shown, sign=sign)} %)"


def p_value(p: float) -> str:
    """Returns a p-value with two digits, without an exponent.

    >>> p_value(0.0312), p_value(0.00001), p_value(float("nan"))
    ('0.031', '< 0.0001', '–')
    """
    if isnan(p):
        return UNKNOWN
    return _check.p_value(p)


def count(n: float) -> str:
    """Returns a whole number with commas between thousands.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{n:,.0f}"


def duration(seconds: float) -> str:
    """Returns a time in words.

    >>> duration(0.34), duration(75), duration(7300), duration(float("nan"))
    ('0.3 s', '1 min 15 s', '2 h 1 min', '–')
    """
    if not 0 <= seconds < inf:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
