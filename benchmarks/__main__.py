"""Every study of this project by one command, run from the root of the checkout.

    python -m benchmarks                      the studies, a line each
    python -m benchmarks STUDY [options]      runs one; its pages and cells lie in docs/benchmarks
    python -m benchmarks STUDY --help         its options
    python -m benchmarks --table              writes every page of what is there, and measures nothing

What is measured already is kept in cells: a killed study goes on, and --table only writes the page of what is there.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

NOT_STUDIES = ("__init__", "__main__", "cells", "coverage_quantities", "experiment_page", "figures")


def scripts() -> dict[str, str]:
    """Returns the studies that are modules of their own, each with the first line of its docstring."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in NOT_STUDIES:
            found[path.stem] = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
    return found


def write_all(modules: Iterable[str]) -> int:
    """Writes every page from its cells."""
    from benchmarks.suite.command import main as compare
    from benchmarks.suite.studies import STUDIES

    for name in modules:
        sys.argv = [f"python -m benchmarks {name}", "--table"]
        import_module(f"benchmarks.{name}").main()
    for study in STUDIES:
        compare(study, ["--seeds", "0"])
    return 0


def main() -> int:
    name, *options = sys.argv[1:] or [""]
    modules = scripts()
    if name == "--table":
        return write_all(modules)
    if name.replace("-", "_") in modules:
        name = name.replace("-", "_")
        sys.argv = [f"python -m benchmarks {name}", *options]
        import_module(f"benchmarks.{name}").main()
        return 0
    from benchmarks.suite.studies import STUDIES  # not above: a module may set its threads before NumPy is loaded

    if name in STUDIES:
        from benchmarks.suite.command import main as compare

        compare(name, options)
        return 0
    width = max(map(len, (*modules, *STUDIES)))
    print(__doc__)
    for study in STUDIES:
        print(f"    {study:{width}}  {STUDIES[study].title}")
    for module, line in modules.items():
        print(f"    {module:{width}}  {line}")
    if name and name not in ("-h", "--help"):
        print(f"\nThere is no study {name!r}.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
