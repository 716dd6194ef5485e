"""`python -m largesse.serving server.toml`: the server, where nothing but what it needs is installed."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from largesse._extras import needed_for
from largesse.errors import LargesseError

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Serves the configuration in a file; returns the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m largesse.serving SERVER.toml", file=sys.stderr)  # noqa: T201
        return 2
    try:
        with needed_for("largesse serve"):
            from largesse.serving.http.settings import load_settings
            from largesse.serving.http.workers import serve
        serve(partial(load_settings, Path(arguments[0])))
    except LargesseError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
