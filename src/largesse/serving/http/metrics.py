"""Counts and times of the service in Prometheus' text format, summed over the worker processes."""

from __future__ import annotations

import os
from collections import Counter as Groups
from collections.abc import Iterable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from largesse.serving.ledger.terms import FALLBACK, Answer, Answers, Status

__all__ = ["MEDIA", "Metrics"]

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """The metrics of one worker process.

    With PROMETHEUS_MULTIPROC_DIR in the environment, `text` has the sums of all processes.
    """

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._requests = Counter("largesse_requests", "Requests by route and status", ["route", "status"], registry=own)
        self._seconds = Histogram(
            "largesse_request_seconds", "Seconds until the answer", ["route"], buckets=_SECONDS, registry=own
        )
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._decisions = Counter(
            "largesse_decisions",
            "New decisions by campaign, kind and treatment",
            ["campaign", "kind", "treatment"],
            registry=own,
        )
        self._fallbacks = Counter("largesse_fallbacks", "Decisions without a model", ["campaign"], registry=own)
        self._shadows = Counter(
            "largesse_shadows_dropped", "Answers in the shadow that were left out", ["campaign"], registry=own
        )
        self._money = Gauge(
            "largesse_campaign", "Money and price of a campaign", ["campaign", "what"], registry=own,
            multiprocess_mode="mostrecent",
        )  # fmt: skip

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        known = self._known.get((route, status))
        if known is None:
            known = self._requests.labels(route, status), self._seconds.labels(route)
            self._known[route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def decided(self, answers: Iterable[Answer]) -> None:
        """Counts decisions, but for those that were stored before."""
        for one in answers:
            if not one.repeated:
                self._given(one.campaign, one.kind, one.treatment).inc()
                if one.version == FALLBACK:
                    self._fallbacks.labels(one.campaign).inc()

    def _given(self, *labels: str) -> Counter:
        """Returns the counter of a campaign, a kind and a treatment."""
        known = self._counters.get(labels)
        if known is None:  # looking for a label takes longer than counting
            known = self._counters[labels] = self._decisions.labels(*labels)
        return known

    def dropped(self, campaign: str, n: int) -> None:
        """Counts answers in the shadow that were left out."""
        self._shadows.labels(campaign).inc(n)

    def decided_together(self, campaign: str, answers: Answers) -> None:
        """Counts decisions of one campaign, but for those that were refused or stored before."""
        fresh = ~answers.repeated & ~np.isnan(answers.propensity)
        several = zip(answers.kind, answers.treatment, fresh.tolist(), strict=True)
        for (kind, treatment, new), n in Groups(several).items():
            if new:
                self._given(campaign, kind, treatment).inc(n)

    def status(self, status: Status) -> None:
        """Keeps the money of a campaign."""
        for name in ("budget", "spent", "reserved", "expected", "price"):
            self._money.labels(status.campaign, name).set(getattr(status, name))

    def text(self) -> bytes:
        """Returns all metrics as Prometheus reads them."""
        if not os.environ.get(_FOLDER):
            return generate_latest(self._registry)
        every = CollectorRegistry()
        multiprocess.MultiProcessCollector(every)  # type: ignore[no-untyped-call]
        return generate_latest(every)
