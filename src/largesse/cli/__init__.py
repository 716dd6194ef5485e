"""The command line: parse, call, render.

Exit codes: 0 done, 1 the data are not sound (`check`), 2 refused (bad input, with a message), 130 interrupted.

Stable: `main`, the commands and their exit codes (docs/stability.md); the other Python names are private.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Runs the command line."""
    try:
        from largesse.cli.app import run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()
