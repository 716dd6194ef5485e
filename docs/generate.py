"""Writes the parts of the documents that are made from the code or from the cells of the studies: `make docs`.

A part stands between two markers, e.g. ``<!-- made: packages -->`` and ``<!-- end: packages -->``; a number within a sentence
between ``<!--=name-->`` and ``<!--/-->``. With --check nothing is written: it says what is stale, and which measured numbers
of the prose no cell and no listed constant accounts for.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import figures  # noqa: E402
from docs import prose  # noqa: E402
from docs.endpoints import endpoints  # noqa: E402
from largesse.commands.documents import DOCUMENTS, table  # noqa: E402

SOURCE = ROOT / "src" / "largesse"


def first_line(path: Path) -> str:
    """Returns the first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def floors() -> list[list[str]]:
    """Returns the packages of each layer, top layer first, as the import contract lists them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (one["layers"] for one in contracts if one["type"] == "layers")
    return [[room.strip() for room in floor.split("|")] for floor in layers]


def packages() -> str:
    """Returns a table of one line per package or top-level module, top layer first; sub-packages follow their package."""
    lines = ["| package | what it does |", "|---|---|"]
    for floor in floors():
        for room in floor:
            place = SOURCE / room
            if not place.is_dir():
                lines.append(f"| `{room}` | {first_line(SOURCE / f'{room}.py')} |")
                continue
            lines.append(f"| **`{room}/`** | {first_line(place / '__init__.py')} |")
            for inner in sorted(place.glob("*/__init__.py")):
                lines.append(f"| `{room}/{inner.parent.name}/` | {first_line(inner)} |")
    return "\n".join(lines)


def modules() -> str:
    """Returns one line for every module, package by package, top layer first."""
    lines = []
    for room in (room for floor in floors() for room in floor if (SOURCE / room).is_dir()):
        place = SOURCE / room
        lines += ["", f"**`{room}/`**", "", "| module | what it does |", "|---|---|"]
        for path in sorted(place.rglob("*.py"), key=lambda p: (p.parent != place, p)):
            if path.name != "__init__.py":
                name = path.relative_to(place).with_suffix("").as_posix()
                lines.append(f"| `{name}` | {first_line(path)} |")
    return "\n".join(lines[1:])


def documents() -> str:
    """Returns a table of the fields of the JSON document of each command that has a schema."""
    return "\n\n".join(f"## {name}\n\n{table(name)}" for name in DOCUMENTS)


PARTS: dict[str, Callable[[], str]] = {
    "packages": packages, "modules": modules, "documents": documents, "http": endpoints, **figures.PARTS
}  # fmt: skip
_PART = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(\n<!-- end: \2 -->)", flags=re.S)


def renewed(text: str) -> str:
    """Returns a page with its parts and its marked numbers as they should be.

    Raises:
        SystemExit: It names a part or a number that nothing makes.
    """

    def part(match: re.Match[str]) -> str:
        if match[2] not in PARTS:
            raise SystemExit(f"<!-- made: {match[2]} -->: there is no such part. The parts are {', '.join(PARTS)}.")
        return match[1] + PARTS[match[2]]() + match[3]

    return prose.renewed(_PART.sub(part, text), figures.FIGURES)


def stale(check: bool) -> list[str]:
    """Writes what is not as it should be, or only returns it."""
    told, seen = [], ""
    for page in [ROOT / "ARCHITECTURE.md", *prose.pages(ROOT)]:
        text = page.read_text(encoding="utf-8")
        seen += text
        if (new := renewed(text)) != text:
            told.append(f"{page.relative_to(ROOT)}: stale, run `make docs`")
            if not check:
                page.write_text(new, encoding="utf-8")
    return told + [
        f"benchmarks/figures.py: no page shows {name!r}" for name in (*figures.FIGURES, *PARTS)
        if f"<!--={name}-->" not in seen and f"<!-- made: {name} -->" not in seen
    ]  # fmt: skip


def unaccounted() -> list[str]:
    """Returns the measured numbers of the prose without a marker, and listed constants that no page states."""
    told = []
    for page in prose.pages(ROOT):
        where = page.relative_to(ROOT)
        told += [f"{where}: no marker and no constant: ... {near} ..." for near in prose.loose(ROOT, page)]
        told += [f"docs/constants.toml: {where} does not say {phrase!r}" for phrase in prose.unused(ROOT, page)]
    return told


def main() -> int:
    check = "--check" in sys.argv
    wrong = stale(check)
    if check and (wrong := wrong + unaccounted()):
        print(*wrong, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
