"""Learners of menus. Each name is loaded on first use: only what is asked for imports torch or LightGBM."""

from __future__ import annotations

from typing import Any

from largesse._lazy import loaded

_HOME = {
    "AutoDebias": "debiased",
    "BiDFCL": "bidfcl",
    "Boosting": "boosting",
    "Calibrated": "calibrate",
    "CausalForest": "forest",
    "CausE": "distilled",
    "CFR": "representation",
    "Corrected": "correction",
    "Decision": "_decision",
    "DFCL": "dfcl",
    "DPM": "dhcl",
    "DragonNet": "representation",
    "DRJT": "weighted",
    "DRM": "dhcl",
    "DRP": "dhcl",
    "DUM": "dhcl",
    "FullBatch": "_full_batch",
    "Gates": "_bridge",
    "HRC": "hrc",
    "Hypergradient": "_levels",
    "IPS": "weighted",
    "KDFeature": "distilled",
    "KDLabel": "distilled",
    "LTD": "debiased",
    "MLP": "mlp",
    "Model": "base",
    "Outcome": "outcome",
    "Regressors": "regressors",
    "Response": "outcome",
    "Schedule": "_train",
    "Solver": "_bilevel",
    "Stack": "stack",
    "Steered": "steered",
    "Student": "student",
    "Tasks": "_tasks",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    return loaded(__name__, _HOME, name)
