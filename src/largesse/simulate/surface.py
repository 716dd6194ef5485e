"""Random functions of the covariates: lines, curves, steps, bumps, products, corners and blends in about equal parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMS", "Surface", "Term"]

F32 = NDArray[np.float32]

_FORMS: dict[str, tuple[int, Callable[[F32, tuple[int, ...], F32], F32]]] = {
    "line": (1, lambda r, k, cut: r[:, k[0]]),
    "curve": (1, lambda r, k, cut: np.tanh(2 * (r[:, k[0]] - cut[0]))),
    "step": (1, lambda r, k, cut: (r[:, k[0]] > cut[0]).astype(np.float32)),
    "bump": (1, lambda r, k, cut: np.exp(-((r[:, k[0]] - cut[0]) ** 2))),
    "product": (2, lambda r, k, cut: np.tanh(r[:, k[0]]) * np.tanh(r[:, k[1]])),
    "corner": (2, lambda r, k, cut: ((r[:, k[0]] > cut[0]) & (r[:, k[1]] > cut[1])).astype(np.float32)),
    "blend": (4, lambda r, k, cut: np.tanh(r[:, list(k)] @ cut)),
}
"""Form → number of columns k, and the function of the covariates r, k and the cuts."""
FORMS = tuple(_FORMS)


@dataclass(frozen=True, slots=True)
class Term:
    """One form of one to four covariates: weight · (form - centre) / spread.

    Attributes:
        form: One of `FORMS`.
        columns: Columns of the covariates.
        cuts: One cut (for a blend, one weight) per column.
        weight: Weight of the term in the surface.
        centre: Mean of the form over the calibration sample.
        spread: Its standard deviation over that sample.
    """

    form: str
    columns: tuple[int, ...]
    cuts: tuple[float, ...]
    weight: float
    centre: float = 0.0
    spread: float = 1.0

    def raw(self, r: F32) -> F32:
        """Returns the form before centring, (N,)."""
        return _FORMS[self.form][1](r, self.columns, np.array(self.cuts, np.float32))

    def __call__(self, r: F32) -> F32:
        """Returns the standardised, weighted form, (N,)."""
        scale = np.float32(self.weight / self.spread)
        return (self.raw(r) - np.float32(self.centre)) * scale


@dataclass(frozen=True, slots=True)
class Surface:
    """A sum of terms with mean 0 and standard deviation 1 over the calibration sample."""

    terms: tuple[Term, ...]

    @classmethod
    def random(cls, rng: np.random.Generator, r: F32, n_terms: int, forms: tuple[str, ...] = FORMS) -> Surface:
        """Returns a random surface.

        Args:
            rng: Draws forms, columns, cuts and weights.
            r: Covariates of the calibration sample, (N, A).
            n_terms: Number of terms, spread evenly over the forms.
            forms: The forms to use.
        """
        terms = []
        for form in [forms[k % len(forms)] for k in rng.permutation(max(n_terms, len(forms)))[:n_terms]]:
            arity = _FORMS[form][0]
            columns = tuple(int(k) for k in rng.choice(r.shape[1], arity, replace=False))
            cuts = rng.normal(0, 1, arity) if form == "blend" else rng.uniform(-0.7, 0.7, arity)
            weight = float(rng.choice([-1, 1]) * rng.uniform(0.5, 1.5))
            terms.append(Term(form, columns, tuple(cuts.tolist()), weight))
        return cls(tuple(terms)).calibrated(r)

    def calibrated(self, r: F32) -> Surface:
        """Returns the surface with centred terms and the sum scaled to standard deviation 1 over these covariates."""
        centred = []
        for term in self.terms:
            raw = term.raw(r).astype(np.float64)
            if raw.std() > 0.02:  # the spread of a step that almost no unit crosses is too small to divide by
                centred.append(replace(term, centre=float(raw.mean()), spread=float(raw.std())))
        total = float(Surface(tuple(centred))(r).std(dtype=np.float64)) or 1.0
        return Surface(tuple(replace(term, weight=term.weight / total) for term in centred))

    def perturbed(self, rng: np.random.Generator, r: F32) -> Surface:
        """Returns an imperfect copy: each term is kept with probability 0.6, its weight multiplied by U(0.4, 1.6)."""
        kept = [t for t in self.terms if rng.random() < 0.6] or list(self.terms[:1])
        return Surface(tuple(replace(t, weight=t.weight * float(rng.uniform(0.4, 1.6))) for t in kept)).calibrated(r)

    def __call__(self, r: F32) -> F32:
        """Returns the value of the surface for each row of covariates, (N, A) -> (N,)."""
        out = np.zeros(len(r), np.float32)
        for term in self.terms:
            out += term(r)
        return out
