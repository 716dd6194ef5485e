"""Writes the parts of the documents that are made from the code: `make docs`. With --check it only says what is stale.

A part stands between two markers, e.g. ``<!-- made: packages -->`` and ``<!-- end: packages -->``.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
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


PARTS: dict[str, tuple[Path, Callable[[], str]]] = {
    name: (ROOT / "ARCHITECTURE.md", make) for name, make in (("packages", packages), ("modules", modules))
}


def renewed(name: str) -> tuple[Path, str, str]:
    """Returns the page of a part, its text as it stands, and as it should."""
    page, make = PARTS[name]
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- made: {name} -->\n).*?(\n<!-- end: {name} -->)", flags=re.S)
    made = make()
    new, count = pattern.subn(lambda match: match[1] + made + match[2], text)
    if count != 1:
        raise SystemExit(f"{page}: has no place for the part {name!r}. Add its two markers.")
    return page, text, new


def main() -> int:
    stale = []
    for name in PARTS:
        page, text, new = renewed(name)
        if new != text:
            stale.append(f"{page.relative_to(ROOT)}: {name}")
            if "--check" not in sys.argv:
                page.write_text(new, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print("Stale, run `make docs`:", *stale, sep="\n  ")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
