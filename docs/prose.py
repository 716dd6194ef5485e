"""Numbers in the prose of the documents: drawn from the cells of the studies, or listed with a reason, or refused.

A measured number stands between two comments, ``<!--=name-->12 %<!--/-->``; what belongs there is ``FIGURES["name"]`` of
`benchmarks.figures`. Constants, defaults and definitions stand in ``docs/constants.toml``, each as a phrase of the page.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["loose", "pages", "renewed", "unused"]
MARKED = re.compile(r"<!--=([\w.-]+)-->(.*?)<!--/-->", flags=re.S)
_MADE = re.compile(r"<!-- made: ([\w-]+) -->.*?<!-- end: \1 -->", flags=re.S)
_CODE = re.compile(r"^```[\s\S]*?^```[^\S\n]*$|^ {4,}\S.*$", flags=re.M)
_WORDS = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|hundred)"
_NUMBER = rf"(?:(?<![\w.])[-+−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)|\b{_WORDS}\b|§)"
_CHAIN = rf"{_NUMBER}(?:(?:, and |, | and | or | to | ± |/){_NUMBER})*"
_UNIT = r"(?:%|×|percent\b|(?:percentage )?points?\b|seconds?\b|minutes?\b|hours?\b|ms\b|µs\b|s\b|[kMG]B\b|times\b|-?fold\b)"
_SHARE = r"(?:half|thirds?|quarters?|fifths?|sixths?|eighths?|tenths?|hundredths?|thousandths?|thousand|million)"
MEASURED = re.compile(
    rf"{_CHAIN}(?: ?{_UNIT}| of (?:the )?{_NUMBER}| in an? (?:hundred|thousand|million)\b)"  # 12 %; 9 of 20; 2 in a thousand
    rf"|\((?:[^()\n]{{0,40}}, )?{_NUMBER} to {_NUMBER}[^()]{{0,30}}\)"  # an interval
    rf"|(?<![\w.])[-+−]?\d*\.\d+(?![\w.]*\d)"  # a decimal
    r"|\ban? (?:point|percent)\b"
    rf"|\b(?:an?|{_WORDS}) {_SHARE} (?:more|less|longer|shorter|faster|slower|as|of the|of all)\b"
    rf"|\b(?:twice|thrice|half|double|dozens?|hundreds?|thousands?|tenfold)\b(?= (?:as|the|of|more|faster|slower|times)\b)",
    flags=re.I,
)


def pages(root: Path) -> list[Path]:
    """Returns the pages that are written by hand."""
    folders = (root / "docs", root / "docs" / "models", root / "docs" / "reference")
    return [root / "README.md", *(page for folder in folders for page in sorted(folder.glob("*.md")))]


def renewed(text: str, figures: Mapping[str, Callable[[], str]]) -> str:
    """Returns a page with every marked number as the cells give it.

    Raises:
        SystemExit: A marker names no figure, or a comment of a marker stands alone.
    """

    def one(match: re.Match[str]) -> str:
        if match[1] not in figures:
            raise SystemExit(f"<!--={match[1]}-->: there is no such figure. Define it in benchmarks/figures.py.")
        return f"<!--={match[1]}-->{figures[match[1]]()}<!--/-->"

    rest = MARKED.sub("", text)
    if "<!--=" in rest or "<!--/-->" in rest:
        raise SystemExit(
            f"half a marker near {rest[max(0, rest.find('<!--') - 40) :][:90]!r}. It is <!--=name-->...<!--/-->."
        )
    return MARKED.sub(one, text)


def _prose(text: str) -> str:
    """Returns a page without its code, generated parts, comments and addresses; marked numbers are a sign."""
    for pattern in (_CODE, _MADE):
        text = pattern.sub("\n", text)
    text = MARKED.sub("§", text)
    for pattern in (r"<!--.*?-->", r"`[^`\n]*`", r"\]\([^)]*\)", r"https?://\S+"):
        text = re.sub(pattern, "", text, flags=re.S)
    return re.sub(r"[^\S\n]*\n(?!\n)[^\S\n]*", " ", text)  # lines are joined, paragraphs are not


def _constants(root: Path, page: Path) -> list[str]:
    told = tomllib.loads((root / "docs" / "constants.toml").read_text(encoding="utf-8"))
    name = page.relative_to(root).as_posix()
    return [_prose(phrase) for kind in told.values() for phrase in kind.get(name, ())]


def loose(root: Path, page: Path) -> list[str]:
    """Returns the measured numbers of a page that no marker draws and no constant lists, each with what stands around it."""
    text = _prose(page.read_text(encoding="utf-8"))
    allowed = [m.span() for phrase in _constants(root, page) for m in re.finditer(re.escape(phrase), text)]
    found = []
    for match in MEASURED.finditer(text):
        own = re.sub(r"§", "", match[0])
        inside = any(low <= match.start() and match.end() <= high for low, high in allowed)
        if re.search(rf"\d|{_WORDS}|{_SHARE}|twice|double|dozen|hundred|an? p", own, flags=re.I) and not inside:
            found.append(" ".join(text[max(0, match.start() - 40) : match.end() + 25].split()))
    return found


def unused(root: Path, page: Path) -> list[str]:
    """Returns the constants of a page that no longer stand in it."""
    text = _prose(page.read_text(encoding="utf-8"))
    return [phrase for phrase in _constants(root, page) if phrase not in text]
