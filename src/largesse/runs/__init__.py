"""One campaign from its files to a run folder: load, learn, prove, report; and a run folder back into use."""

from __future__ import annotations

from typing import Any

from largesse._lazy import loaded

_HOME = {
    "Rows": "load",
    "Run": "campaign",
    "allocate_by_cluster": "by_cluster",
    "allocate_run": "allocation",
    "assign_users": "assigned",
    "compare_runs": "held",
    "evaluate_run": "held",
    "experiment": "measured",
    "export_run": "exported",
    "fit": "campaign",
    "load_rows": "load",
    "open_run": "held",
    "plan_under": "ruled",
    "report_plan": "ruled",
    "soundness": "campaign",
    "task_of": "campaign",
    "tune": "tuning",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    return loaded(__name__, _HOME, name)
