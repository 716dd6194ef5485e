"""Optional packages: which extra installs each, and the error where one is missing."""

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
    "onnx": "serve", "onnxruntime": "serve", "optuna": "tune", "sqlalchemy": "serve",
    "psycopg": "postgres", "fastapi": "serve", "uvicorn": "serve", "msgspec": "serve", "prometheus_client": "serve",
    "httpx": "client",
}  # fmt: skip
"""Package → the extra that installs it."""


def installed(package: str) -> bool:
    """Returns whether a package can be imported."""
    try:
        return find_spec(package) is not None
    except ValueError:  # a module object placed in `sys.modules` without a spec
        return True


def missing(error: ImportError, need: str) -> MissingDependency | None:
    """Returns the error that names the extra if the import of an optional package failed, otherwise None."""
    package = (error.name or "").partition(".")[0]
    return MissingDependency(package, EXTRAS[package], need) if package in EXTRAS else None


@contextmanager
def needed_for(need: str) -> Iterator[None]:
    """Turns the failed import of an optional package into an error that names what to install.

    Args:
        need: What needs the package, e.g. ``"to_frame()"``.

    Raises:
        MissingDependency: An optional package is not installed.
    """
    try:
        yield
    except ImportError as error:
        if (refusal := missing(error, need)) is None:
            raise
        raise refusal from error


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose stub names the module of each public name.

    Each name is imported on first use. If its optional package is missing, the error names the extra to install.
    """
    load, names, public = lazy_loader.attach_stub(package, file)

    def get(name: str) -> Any:
        with needed_for(f"{package}.{name}"):
            return load(name)

    return get, names, public
