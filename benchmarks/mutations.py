"""One-line breakages of the source, and the test that fails on each; writes docs/benchmarks/mutations.md.

    python -m benchmarks mutations --jobs 2               # all sixty; a killed run goes on where it stopped
    python -m benchmarks mutations --only 4               # the first four that are not done
    python -m benchmarks mutations --baseline             # the whole suite without a breakage must pass
    python -m benchmarks mutations --table                # only writes the page
    python -m benchmarks mutations --retry                # survivors once more, after tests were written for them
    python -m benchmarks mutations --seed 21 --size 30    # another draw, in its own cell and table
    python -m benchmarks mutations --fresh                # draws the breakages anew, e.g. after the source has changed

Modules are drawn at random (weighted by lines; at least one from each package, if there are 30) and two lines of each are
broken, one at a time, in a copy of the checkout. The tests that mirror the module run first, then the others, until one
fails. A test that runs longer than `--hang` seconds fails. The results are kept in docs/benchmarks/mutations*.json.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from benchmarks.cells import PAGES, load, store
from benchmarks.suite import tables

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "largesse"
SEED, SIZE, PER_MODULE = 20, 60, 2
DISPLAY = ("report", "cli")  # their numbers are sizes and digits of what is shown

# Breakages that change nothing a caller could observe: (file, line after the change without indentation) and the reason.
EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "src/largesse/engines/spark.py",
        "one = policy.model.predict(np.zeros((2, len(_encoder(policy).names)), np.float32))",
    ): "only the type of the predicted numbers is read",
}

COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", ">="), ast.LtE: ("<=", ">"), ast.Gt: (">", "<="), ast.GtE: (">=", "<"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
}  # fmt: skip
EXTREMES = {
    "min": "max",
    "max": "min",
    "minimum": "maximum",
    "maximum": "minimum",
    "argmin": "argmax",
    "argmax": "argmin",
}


@dataclass(frozen=True)
class Mutation:
    """One changed line: file (relative to the root of the checkout), line number, kind, the line before and after."""

    file: str
    line: int
    kind: str
    before: str
    after: str


@dataclass(frozen=True)
class Edit:
    """Bytes start..stop of a line replaced by a text."""

    line: int
    start: int
    stop: int
    new: str
    kind: str


def skipped(node: ast.AST) -> list[ast.AST]:
    """Returns the children of a node that are not to be broken: annotations, decorators, messages, texts, names of exports."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.decorator_list, *([node.returns] if node.returns else [])]
    if isinstance(node, ast.ClassDef):
        return list(node.decorator_list)
    if isinstance(node, ast.AnnAssign | ast.arg):
        return [node.annotation] if node.annotation else []
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert):
        return list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
        return list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call) and re.search(
        r"(Error|Refusal|warn|Option|Field|Argument|say)$", ast.unparse(node.func)
    ):
        return list(ast.iter_child_nodes(node))
    if isinstance(
        node, ast.Call
    ):  # zip(..., strict=True) is a check of our own, and another seed is as good as the first
        return [k for k in node.keywords if k.arg in ("strict", "seed")]
    return [node.right] if isinstance(node, ast.BinOp) and "seed" in ast.unparse(node.left) else []


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes of a module that may be broken."""
    yield tree
    left_out = {id(child) for child in skipped(tree)}
    for child in ast.iter_child_nodes(tree):
        if id(child) not in left_out:
            yield from nodes(child)


def is_text(node: ast.expr) -> bool:
    """Whether an operand is a text or a list, which + joins."""
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def between(lines: list[bytes], left: ast.expr, right: ast.expr, old: str, new: str, kind: str) -> Iterator[Edit]:
    """Yields the edit that replaces the operator between two operands of one line."""
    if left.end_lineno == right.lineno and left.end_col_offset is not None:
        part = lines[right.lineno - 1][left.end_col_offset : right.col_offset].decode()
        at = part.find(old)
        if at >= 0:
            start = left.end_col_offset + at
            yield Edit(right.lineno, start, start + len(old), new, kind)


def operators(node: ast.AST, lines: list[bytes]) -> Iterator[Edit]:
    """Yields the edits of comparisons, arithmetic and boolean operators."""
    if isinstance(node, ast.Compare):
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            yield from between(lines, left, right, *COMPARISONS[type(op)], "comparison")
    elif (
        isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not (is_text(node.left) or is_text(node.right))
    ):
        yield from between(lines, node.left, node.right, *ARITHMETIC[type(node.op)], "arithmetic")
    elif isinstance(node, ast.BoolOp):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from between(lines, left, right, old, new, "and/or")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and node.lineno == node.operand.lineno:
        yield Edit(node.lineno, node.col_offset, node.operand.col_offset, "", "dropped not")


def values(node: ast.AST, numbers: bool) -> Iterator[Edit]:
    """Yields the edits of constants, extremes, slices, returned values and calls of checks."""
    end = getattr(node, "end_col_offset", None)
    if getattr(node, "lineno", None) != getattr(node, "end_lineno", 0) or end is None:
        return
    place: Any = node
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield Edit(place.lineno, place.col_offset, end, str(not node.value), "constant")
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and numbers:
        yield Edit(place.lineno, place.col_offset, end, str(node.value + 1), "constant")
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        stop = node.func.end_col_offset
        if name in EXTREMES and stop is not None:
            yield Edit(node.lineno, stop - len(name), stop, EXTREMES[name], "min/max")
    elif isinstance(node, ast.Slice) and (bound := node.upper or node.lower) and bound.end_col_offset is not None:
        yield Edit(bound.lineno, bound.end_col_offset, bound.end_col_offset, " + 1", "slice")
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.BinOp | ast.Compare | ast.BoolOp):
        sign = "-" if isinstance(node.value, ast.BinOp) else "not "
        inner = node.value
        if not (
            isinstance(inner, ast.BinOp)
            and (type(inner.op) not in ARITHMETIC or is_text(inner.left) or is_text(inner.right))
        ):
            yield Edit(node.lineno, node.col_offset, inner.col_offset, f"return {sign}", "negated return")
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = ast.unparse(node.value.func).rpartition(".")[2]
        if re.match(r"_?(check|require|refuse|valid|assert|ensure|must)", called) or "_check." in ast.unparse(
            node.value.func
        ):
            yield Edit(node.lineno, node.col_offset, end, "pass", "deleted check")


def candidates(path: Path) -> list[Mutation]:
    """Returns every breakage of a module that compiles and changes its syntax tree."""
    text = path.read_bytes()
    lines, tree = text.splitlines(), ast.parse(text)
    numbers = path.relative_to(SOURCE).parts[0] not in DISPLAY
    file, whole, mutations = path.relative_to(ROOT).as_posix(), ast.dump(tree), []
    for node in nodes(tree):
        for edit in (*operators(node, lines), *values(node, numbers)):
            before = lines[edit.line - 1]
            negated = edit.kind == "negated return"
            after = before[: edit.start] + edit.new.encode() + (b"(" if negated else b"") + before[edit.stop :]
            after += b")" if negated else b""
            if b"pragma" in before or b"noqa" in before:
                continue
            try:
                changed = ast.dump(ast.parse(b"\n".join([*lines[: edit.line - 1], after, *lines[edit.line :]])))
            except SyntaxError:
                continue
            if changed != whole:
                mutations.append(Mutation(file, edit.line, edit.kind, before.decode(), after.decode()))
    return mutations


def cell_of(seed: int) -> Path:
    """Returns where the results of a draw are kept."""
    return PAGES / ("mutations.json" if seed == SEED else f"mutations-{seed}.json")


def drawn(rng: random.Random, modules: int) -> list[Mutation]:
    """Returns the breakages of the study: modules at random, weighted by lines, then two lines of each."""
    of_module = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py"):
            mutations = candidates(path)
            if len({m.line for m in mutations}) >= PER_MODULE:
                of_module[path] = mutations
    size = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in of_module}

    def one(paths: list[Path]) -> Path:
        return rng.choices(paths, weights=[size[path] for path in paths])[0]

    packages: dict[str, list[Path]] = {}
    for path in of_module:
        packages.setdefault(path.relative_to(SOURCE).parts[0] if path.parent != SOURCE else ".", []).append(path)
    chosen = [one(paths) for paths in packages.values()] if modules >= len(packages) else []
    while len(chosen) < modules:
        chosen.append(one([path for path in of_module if path not in chosen]))
    study = []
    for path in sorted(chosen):
        kinds = sorted({m.kind for m in of_module[path]})
        lines: set[int] = set()
        for kind in rng.sample(kinds, len(kinds)) * PER_MODULE:  # kinds in turn, so that rare ones occur as well
            free = [m for m in of_module[path] if m.kind == kind and m.line not in lines]
            if free and len(lines) < PER_MODULE:
                study.append(rng.choice(free))
                lines.add(study[-1].line)
    return rng.sample(study, len(study))  # in random order: the first few are a sample of all


def copied(place: Path) -> Path:
    """Copies the files that git tracks, and those it does not ignore, into a folder."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    return place


def stages(file: str, tree: Path) -> list[list[str]]:
    """Returns what pytest is given, stage by stage: the tests that name the module, those of its package, all others."""
    path = Path(file)
    package = path.parts[2] if len(path.parts) > 3 else ""
    folder = tree / "tests" / package
    mirrors = sorted(folder.rglob("test_*.py") if package else folder.glob("test_*.py"))
    names = re.findall(r"^(?:class|def) ([A-Za-z]\w*)", (ROOT / file).read_text(encoding="utf-8"), flags=re.M)
    words = rf"\b({'|'.join([path.stem, *names])})\b"
    near = [str(m.relative_to(tree)) for m in mirrors if re.search(words, m.read_text(encoding="utf-8"))]
    rest = [str(m.relative_to(tree)) for m in mirrors if str(m.relative_to(tree)) not in near]
    others = ["tests", "src", *(f"--ignore={m.relative_to(tree)}" for m in mirrors), f"--ignore={file}"]
    return [[file, *near], *([rest] if rest else []), others]


def suite(tree: Path, words: list[str], hang: int, limit: float) -> tuple[str, str]:
    """Runs pytest until a test fails.

    Returns:
        "passed", "failed" or "hang"; and the first test that failed.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-o", f"timeout={hang}",
               "-o", "timeout_method=thread", "--tb=no", *words]  # fmt: skip
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    environment = {**os.environ, **threads, "PYTHONPATH": str(tree / "src")}
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output = process.communicate(timeout=max(1.0, limit))[0]
    except subprocess.TimeoutExpired:
        return "hang", "time limit"
    finally:  # also where this study is interrupted
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode in (0, 5):  # 5: nothing was collected
        return "passed", ""
    first = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, flags=re.M)
    if "Timeout" in output and not first:
        return "hang", f"a test that ran longer than {hang} s"
    return "failed", first[1] if first else (output.strip().splitlines() or ["pytest ended"])[-1][:120]


def without_kernels(tree: Path) -> None:
    """Removes compiled kernels: those of other modules may contain the code of a changed one."""
    for cache in (*tree.rglob("*.nbi"), *tree.rglob("*.nbc")):
        cache.unlink()


def place_of(mutation: Mutation, lines: list[str]) -> int:
    """Returns the number, from 0, of the line to break, which may have moved since the breakages were drawn."""
    same = [k for k, line in enumerate(lines) if line == mutation.before]
    if not same:
        raise SystemExit(f"{mutation.file}:{mutation.line} has changed since the breakages were drawn. Give --fresh.")
    return min(same, key=lambda k: abs(k + 1 - mutation.line))


def tried(mutation: Mutation, tree: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Returns what the tests say of one breakage, which is undone in the end."""
    place = tree / mutation.file
    original = ROOT / mutation.file
    lines = original.read_text(encoding="utf-8").split("\n")
    number = place_of(mutation, lines)
    compiled = "njit" in "\n".join(lines) or "kernels" in mutation.file
    lines[number] = mutation.after
    began = time.perf_counter()
    try:
        place.write_text("\n".join(lines), encoding="utf-8")
        if compiled:
            without_kernels(tree)
        status, by, stage = "passed", "", -1
        for words in stages(mutation.file, tree):
            stage += 1
            status, by = suite(tree, words, options.hang, options.limit - (time.perf_counter() - began))
            if status != "passed":
                break
    finally:
        shutil.copy2(original, place)
        if compiled:
            without_kernels(tree)
    seconds = round(time.perf_counter() - began, 1)
    return {"line": number + 1, "status": "survived" if status == "passed" else "caught", "hang": status == "hang", "by": by,
            "stage": stage, "seconds": seconds}  # fmt: skip


def study(options: argparse.Namespace) -> None:
    """Tries the breakages that are not done, and stores each result as soon as it is there."""
    path = cell_of(options.seed)
    cell = {} if options.fresh else load(path)
    if not cell:
        rng, modules = random.Random(options.seed), options.size // PER_MODULE
        cell = {"seed": options.seed, "mutations": [asdict(m) for m in drawn(rng, modules)]}
    if options.retry:
        for m in cell["mutations"]:
            if m.get("status") == "survived":
                m["first"] = m.pop("status")
    waiting = [m for m in cell["mutations"] if "status" not in m][: options.only]
    trees: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        for k in range(options.jobs):
            trees.put(copied(Path(folder) / str(k)))
        if options.baseline:
            status, by = suite(Path(folder) / "0", ["tests", "src"], options.hang, options.limit)
            if status != "passed":
                raise SystemExit(f"Without a breakage the suite fails already: {by}")
            cell["baseline"] = True

        def one(entry: dict[str, Any]) -> dict[str, Any]:
            tree = trees.get()
            try:
                return {
                    **entry,
                    **tried(Mutation(**{key: entry[key] for key in Mutation.__dataclass_fields__}), tree, options),
                }
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(options.jobs) as pool:
            for before, after in zip(waiting, pool.map(one, waiting), strict=True):
                before.update(after)
                store(path, cell)
                place = f"{after['file']}:{after['line']} {after['kind']}"
                print(f"{place}: {after['status']} {after['by']} ({after['seconds']:.0f} s)", flush=True)


def code(line: str) -> str:
    """Returns a line of code as a cell of a table."""
    return "`" + line.strip().replace("|", "\\|").replace("`", "'") + "`"


def summary(cell: dict[str, Any]) -> list[str]:
    """Returns the lines of one draw: how many were caught, and each breakage with the test that caught it."""
    done = [m for m in cell["mutations"] if "status" in m]
    equal = [m for m in done if m["status"] == "survived" and (m["file"], m["after"].strip()) in EQUIVALENT]
    caught = [m for m in done if m["status"] == "caught"]
    at_first = [m for m in caught if "first" not in m]
    near, hangs = sum(m["stage"] == 0 for m in caught), sum(m["hang"] for m in caught)
    lines = [
        f"## Seed {cell['seed']}", "",
        f"{len({m['file'] for m in cell['mutations']})} modules; tried: {len(done)} of {len(cell['mutations'])}. "
        f"**Caught: {len(caught)}** ({near} by tests of the same",
        f"package that name the module, {hangs} by a time limit). Survived: {len(done) - len(caught)}, of which {len(equal)} "
        "change nothing that a caller could observe.",
        *([f"In the first run {len(at_first)} were caught; tests were written for the others, which were tried again."]
          if any("first" in m for m in done) else []), "",
        "| file | line | kind | before | after | caught by | seconds |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for m in sorted(done, key=lambda m: (m["status"] == "caught", "first" not in m, m["file"], m["line"])):
        by = f"`{m['by']}`" if m["status"] == "caught" else "**survived**"
        if m in equal:
            by = f"equivalent: {EQUIVALENT[m['file'], m['after'].strip()]}"
        by += " (not in the first run)" if m["status"] == "caught" and "first" in m else ""
        name = m["file"].removeprefix("src/largesse/")
        cells = name, m["line"], m["kind"], code(m["before"]), code(m["after"]), by, f"{m['seconds']:.0f}"
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return [*lines, ""]


def table() -> None:
    """Writes the page of every draw that there is."""
    lines = [
        "# Breakages and the tests that catch them", "", "Generated by `python -m benchmarks mutations`; do not edit.", "",
        f"Modules are drawn at random, weighted by their lines, and {PER_MODULE} lines of each are broken, one at a time.",
        "Docstrings, annotations, messages, decorators and numbers of the display are left out.", "",
    ]  # fmt: skip
    for path in sorted(PAGES.glob("mutations*.json"), key=lambda path: (path != cell_of(SEED), path.name)):
        lines += summary(load(path))
    tables.write_whole(PAGES / "mutations.md", "\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, metavar="K", help="try the first K breakages that are not done")
    parser.add_argument("--jobs", type=int, default=1, help="breakages at the same time, each in its own copy")
    parser.add_argument("--hang", type=int, default=300, help="seconds after which one test counts as hanging")
    parser.add_argument("--limit", type=float, default=5400, help="seconds after which one breakage counts as hanging")
    parser.add_argument("--baseline", action="store_true", help="first run the whole suite without a breakage")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the draw")
    parser.add_argument("--size", type=int, default=SIZE, help="number of breakages, two for each module")
    parser.add_argument("--retry", action="store_true", help="try survivors again and keep what the first run showed")
    parser.add_argument("--fresh", action="store_true", help="draw the breakages anew and forget their results")
    parser.add_argument("--table", action="store_true", help="only write the page of what is there")
    options = parser.parse_args()
    if not options.table:
        study(options)
    table()
