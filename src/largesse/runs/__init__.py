"""One campaign from its files to a run folder: load, learn, prove, report; and a run folder back into use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Rows": "load",
    "Run": "campaign",
    "compare_runs": "held",
    "evaluate_run": "held",
    "fit": "campaign",
    "load_rows": "load",
    "open_run": "held",
    "soundness": "campaign",
    "task_of": "campaign",
    "tune": "tuning",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'largesse.runs' has no attribute {name!r}")
    return getattr(import_module(f"largesse.runs.{_HOME[name]}"), name)
