"""The processes that share the work: started before all else, as many as the run uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from largesse.commands import processes
from largesse.config import parse
from tests.common.campaigns import TEXT


def test_they_start_with_what_the_campaign_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    begun = []
    monkeypatch.setattr(processes, "Workers", lambda n, imports: begun.append((n, imports)))
    monkeypatch.setattr(processes, "cores", lambda: 5)
    trial = TEXT.format(more="")
    both = trial.replace("[data]\n", '[data]\nobs = "past.parquet"\n')
    for text, threads in ((trial, None), (both, None), (trial, 1)):
        more = "" if threads is None else f"threads = {threads}\n"
        processes.begin(parse(text.replace("[run]\n", f"[run]\n{more}"), folder=tmp_path))
    processes.begin()
    past = (*processes.LEARNING, *processes.PAST_DATA)
    assert begun == [(5, processes.LEARNING), (5, past), (1, processes.LEARNING), (5, past)]
