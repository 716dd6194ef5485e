"""Optional packages: which extra brings each, and the one sentence that says so where one is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import lazy_loader

from largesse.errors import MissingDependency

__all__ = ["EXTRAS", "attach", "installed", "missing", "needed_for"]

EXTRAS = {
    "torch": "learn", "pandas": "pandas", "causaldata": "demo", "rdata": "rda", "econml": "forest", "pyspark": "spark",
    "onnx": "serve", "onnxruntime": "serve", "optuna": "tune",
}  # fmt: skip
"""Package → the extra that installs it."""


def installed(package: str) -> bool:
    """Tells whether a package can be imported."""
    try:
        return find_spec(package) is not None
    except ValueError:  # a module that was put in its place has no spec
        return True


def missing(error: ImportError, need: str) -> MissingDependency | None:
    """Returns the refusal that names the extra, if it is an optional package that could not be imported; else None."""
    package = (error.name or "").partition(".")[0]
    return MissingDependency(package, EXTRAS[package], need) if package in EXTRAS else None


@contextmanager
def needed_for(need: str) -> Iterator[None]:
    """Turns the failed import of an optional package into the sentence that says what to install.

    Args:
        need: What needs the package, e.g. ``"to_frame()"``.

    Raises:
        MissingDependency: An optional package is not installed.
    """
    try:
        yield
    except MissingDependency:
        raise
    except ImportError as error:
        refusal = missing(error, need)
        if refusal is None:
            raise
        raise refusal from error


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose stub says where its names live.

    Each name is imported on first use; one that needs an optional package says which extra brings it.
    """
    load, names, public = lazy_loader.attach_stub(package, file)

    def get(name: str) -> Any:
        with needed_for(f"{package}.{name}"):
            return load(name)

    return get, names, public
