"""Calls that mypy must refuse: an error that is no longer found leaves its `type: ignore` unused, which is one. Never run."""

from __future__ import annotations

from sklearn.linear_model import Ridge

from largesse.models import DFCL, DRP, HRC, IPS, LTD, MLP, Boosting, Calibrated, Regressors, Stack, Student


def refused() -> None:
    Boosting(rouds=5)  # type: ignore[call-arg]
    Boosting(rounds="many")  # type: ignore[arg-type]
    Boosting(None)  # type: ignore[call-arg]
    Boosting(data="all")  # type: ignore[arg-type]
    IPS(widths=(3,))  # type: ignore[call-arg]
    LTD(upper_rate="fast")  # type: ignore[arg-type]
    DRP(hiden=(8,))  # type: ignore[call-arg]
    Calibrated()  # type: ignore[call-arg]
    Calibrated(5)  # type: ignore[arg-type]
    Calibrated(Boosting(), None)  # type: ignore[call-arg]
    DFCL(Boosting())  # type: ignore[arg-type]
    HRC(Boosting())  # type: ignore[arg-type]
    Stack(Boosting())  # type: ignore[arg-type]
    Student(MLP())  # type: ignore[arg-type]
    Boosting().rouds  # type: ignore[attr-defined] # noqa: B018
    Boosting().fitt()  # type: ignore[attr-defined]
    DFCL(MLP()).base.rounds  # type: ignore[attr-defined] # noqa: B018
    Boosting(seed=1).set_params(rounds=2).published()  # type: ignore[attr-defined]


def accepted() -> tuple[Calibrated, Stack, Regressors, HRC]:
    calibrated: Calibrated = Calibrated(Boosting(rounds=5)).set_params(seed=1)
    return calibrated, Stack((Boosting(), MLP())), Regressors(Ridge(), strategy="S"), HRC()
