"""The distribution of the features: correlated columns of several kinds, generated from a few latent factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "Population"]

F32 = NDArray[np.float32]

_Transform = Callable[[F32, F32, F32], F32]
KINDS: dict[str, tuple[float, _Transform]] = {
    "plain": (0.28, lambda v, shift, scale: v * scale + shift),
    "count": (0.22, lambda v, shift, scale: np.floor(np.exp(v * scale + shift))),
    "flag": (0.16, lambda v, shift, scale: (v > shift).astype(np.float32)),
    "tailed": (0.12, lambda v, shift, scale: np.sinh(v * np.float32(1.5)) * scale),
    "ordinal": (0.12, lambda v, shift, scale: np.clip(np.floor(v * np.float32(1.5) + shift + 3), 0, 5)),
    "censored": (0.10, lambda v, shift, scale: np.maximum(v - shift, 0) * scale),
}
"""Kind of feature → its share, and the monotone transform of a standard normal score v into the feature."""

_LINKS = {"count": np.log1p, "tailed": np.arcsinh}
_FACTORS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """The distribution of the features, and the covariates on which responses depend.

    A feature's score is v = Σ_f loading_f z_f + √(1 - Σ loading²) e, standard normal; its value is a monotone transform of v.

    Attributes:
        names: Names of the d features, grouped by kind.
        spans: Kind → its range of columns.
        loadings: Factor loadings (factors, d), float32.
        own: Standard deviation of the score's idiosyncratic part (d,).
        shift: Parameter of the transform: location, cut or log-mean (d,).
        scale: Parameter of the transform, > 0 (d,).
        active: Columns on which responses depend, in random order (A,).
        centre: Mean of each linked active column (A,).
        spread: Its standard deviation (A,).
    """

    names: tuple[str, ...]
    spans: dict[str, slice]
    loadings: F32
    own: F32
    shift: F32
    scale: F32
    active: NDArray[np.int64]
    centre: F32
    spread: F32

    @classmethod
    def random(cls, rng: np.random.Generator, n_features: int, n_active: int) -> Population:
        """Returns a random population: its correlations, scales and active features."""
        cuts = np.round(np.cumsum([0.0, *(share for share, _ in KINDS.values())]) * n_features).astype(int)
        spans = {kind: slice(int(a), int(b)) for kind, a, b in zip(KINDS, cuts, cuts[1:], strict=False)}
        names = tuple(f"{kind}_{k:03d}" for kind, s in spans.items() for k in range(s.stop - s.start))
        directions = rng.standard_normal((_FACTORS, n_features)) * (rng.random((_FACTORS, n_features)) < 0.25)
        directions /= np.maximum(np.linalg.norm(directions, axis=0), 1e-9)
        common = np.where(rng.random(n_features) < 0.25, 0.0, rng.uniform(0.2, 0.8, n_features))
        loadings = directions * np.sqrt(common)
        shift, scale = rng.uniform(-0.3, 1.2, n_features), rng.uniform(0.6, 1.4, n_features)
        scale[spans["plain"]] = np.exp(rng.uniform(-1.0, 3.0, spans["plain"].stop))  # units differ by column
        draft = cls(
            names, spans, loadings.astype(np.float32), np.sqrt(1 - (loadings**2).sum(axis=0)).astype(np.float32),
            shift.astype(np.float32), scale.astype(np.float32), rng.permutation(n_features)[:n_active],
            np.zeros(n_active, np.float32), np.ones(n_active, np.float32),
        )  # fmt: skip
        linked = draft.covariates(draft.draw(rng, 20_000))
        spread = np.maximum(linked.std(axis=0, dtype=np.float64), 1e-3).astype(np.float32)
        return replace(draft, centre=linked.mean(axis=0, dtype=np.float64).astype(np.float32), spread=spread)

    def draw(self, rng: np.random.Generator, n: int) -> F32:
        """Returns the features of n new units, float32 (N, d)."""
        z = rng.standard_normal((n, _FACTORS), dtype=np.float32)  # (N, factors)
        x = rng.standard_normal((n, len(self.names)), dtype=np.float32)  # (N, d)
        x *= self.own
        x += z @ self.loadings
        for kind, span in self.spans.items():
            x[:, span] = KINDS[kind][1](x[:, span], self.shift[span], self.scale[span])
        return x

    def covariates(self, x: NDArray[Any]) -> F32:
        """Returns the covariates of the responses: active features, linked, standardised, clipped to ±4, float32 (N, A)."""
        out = np.asarray(x, np.float32)[:, self.active]
        for kind, link in _LINKS.items():
            span = self.spans[kind]
            own = np.flatnonzero((self.active >= span.start) & (self.active < span.stop))
            out[:, own] = link(out[:, own])
        out -= self.centre
        out /= self.spread
        return np.clip(out, -4, 4, out=out)
