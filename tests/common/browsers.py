"""What tests of pages in a browser share: the browser, and what is wrong with a page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

__all__ = ["DRAWN", "NEEDED", "OVERLAPS", "SETTLED", "TOO_WIDE", "faults", "opened_browser", "until"]

CHROMIUM = shutil.which("chromium")
MISSING = [name for name in ("playwright", "axe_playwright_python") if find_spec(name) is None]
NEEDED = [
    pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed: pip install 'largesse[dev]'"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path: apt-get install chromium"),
]
CONTRAST = "color-contrast"
DRAWN = "[...document.querySelectorAll('[data-figure]')].every(p => p.querySelector('svg'))"
SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
OVERLAPS = """() => {
  const out = [];
  document.querySelectorAll("[data-figure]").forEach(plot => {
    const texts = [...plot.querySelectorAll("svg text")].filter(t => t.textContent.trim())
      .map(t => [t.textContent, t.getBoundingClientRect()]).filter(t => t[1].width > 0);
    texts.forEach(([a, p], i) => texts.slice(i + 1).forEach(([b, q]) => {
      const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (wide > 1.5 && high > 3) out.push([plot.dataset.figure, a, b]);
    }));
  });
  return out;
}"""


def until(shown: Any, expression: str, seconds: float = 20.0) -> None:
    """Waits until an expression is true on a page, also where the page forbids what `wait_for_function` evaluates."""
    from playwright.sync_api import Error

    end = time.monotonic() + seconds
    while True:
        try:
            if shown.evaluate(expression):
                return
        except Error as error:  # between two pages there is nothing to evaluate on
            if "navigation" not in str(error):
                raise
        assert time.monotonic() < end, f"not within {seconds:g} s: {expression}"
        shown.wait_for_timeout(10)


@contextmanager
def opened_browser() -> Iterator[Any]:
    """Yields Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as made:
        opened = made.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def faults(shown: Any, *, colours: bool = True, rest: bool = True) -> list[tuple[str, str]]:
    """Returns serious faults, and empty headings; a chart is an image with a label, so its inside is not looked at.

    Args:
        shown: The page.
        colours: Whether the contrast of colours is looked at, which takes most of the time.
        rest: Whether all else is looked at.
    """
    from axe_playwright_python.sync_playwright import Axe

    options: dict[str, Any] = {"resultTypes": ["violations"], "rules": {CONTRAST: {"enabled": colours}}}
    if not rest:
        options["runOnly"] = [CONTRAST]
    broken = Axe().run(shown, context={"exclude": [[".plot svg"]]}, options=options).response["violations"]
    serious = [f for f in broken if f["impact"] in ("serious", "critical") or f["id"] == "empty-table-header"]
    return [(f["id"], f["nodes"][0]["html"]) for f in serious]
