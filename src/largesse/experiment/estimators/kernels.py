"""Compiled loops over rows. Each returns sums that can be added over blocks of rows.

A column that is not given is an empty array. `arm` contains codes, control is 0.
"""

from __future__ import annotations

from math import log, log1p
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from largesse.experiment.data.sample import Block

__all__ = ["StudentSums", "TreatedSums", "moments", "student"]

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def moments(columns: Array, weight: Array, arm: Array, arms: int, shift: Array) -> tuple[Array, Array, Array]:
    """Returns weighted sums and sums of products of columns by arm, each column minus its shift.

    Args:
        columns: (K, n).
        weight: Row weights (n,), or empty.
        arm: Arm codes (n,).
        arms: Number of arms M.
        shift: A value near each column's mean, so that sums of squares lose no digits (K,).

    Returns:
        Number of rows and sum of weights by arm (M, 2), sums (M, K), sums of products (M, K, K).
    """
    k, n = columns.shape
    size, total, product = np.zeros((arms, 2)), np.zeros((arms, k)), np.zeros((arms, k, k))
    x = np.empty(k)
    for i in range(n):
        a = arm[i]
        w = weight[i] if len(weight) else 1.0
        size[a, 0] += 1.0
        size[a, 1] += w
        for p in range(k):
            x[p] = columns[p, i] - shift[p]
            total[a, p] += w * x[p]
            for q in range(p + 1):
                product[a, p, q] += w * x[q] * x[p]
    for a in range(arms):
        for p in range(k):
            for q in range(p):
                product[a, q, p] = product[a, p, q]
    return size, total, product


class StudentSums(NamedTuple):
    """Sums over rows from one pass of the Student-t model, each row multiplied by its weight w.

    With u = (y - ratio z) / scale, v = (g - centre) / spread, T = 1 in the treated arm, r = u - b0 - b1 T - b2 v,
    q = r² / σ², D = 1 / (ν + q), η = (ν + 1) D, h = η (ν - q) D, m = η ν D r and k = (q - 1) D².

    Attributes:
        weight: 1 (the sum of the weights).
        log: ln(1 + q/ν).
        eta: η, the weight of a row in the EM step.
        eta_v: η v.
        eta_vv: η v².
        eta_r: η r.
        eta_rv: η r v.
        eta_q: η q.
        h: h, the curvature in the coefficients.
        h_v: h v.
        h_vv: h v².
        m: m, the curvature between the coefficients and ln σ².
        m_v: m v.
        eta_qd: η q D, the curvature in ln σ².
        k_r: k r, the curvature between the coefficients and ν.
        k_rv: k r v.
        k_q: k q, the curvature between ln σ² and ν.
        rows: The unweighted number of rows.
    """

    weight: float
    log: float
    eta: float
    eta_v: float
    eta_vv: float
    eta_r: float
    eta_rv: float
    eta_q: float
    h: float
    h_v: float
    h_vv: float
    m: float
    m_v: float
    eta_qd: float
    k_r: float
    k_rv: float
    k_q: float
    rows: float


class TreatedSums(NamedTuple):
    """The sums that multiply T in the normal equations: as in `StudentSums`, over the treated arm only."""

    eta: float
    eta_v: float
    eta_r: float
    h: float
    h_v: float
    m: float
    k_r: float


@njit(cache=True, nogil=True, error_model="numpy")
def student(block: Block, other: int, scaling: Array, theta: Array, step: int) -> tuple[StudentSums, TreatedSums]:
    """Returns the sums from one pass of the Student-t model over a block: of both arms, and of the treated arm.

    Args:
        block: The rows; rows of arms other than control and `other` are skipped.
        other: Code of the arm compared with control.
        scaling: Ratio, scale, centre, spread (4,).
        theta: b0, b1, b2, σ², ν (5,).
        step: Only every step-th row is read.
    """
    y, arm, z, g, w = block
    b0, b1, b2, s2, nu = theta
    ratio, scale, centre, spread = scaling
    # Sums over both arms (s) and over the treated arm (t), in registers.
    s_w = s_log = s_e = s_ev = s_evv = s_er = s_erv = s_eq = s_h = s_hv = s_hvv = 0.0
    s_m = s_mv = s_eqd = s_k = s_kv = s_kq = s_n = 0.0
    t_e = t_ev = t_er = t_h = t_hv = t_m = t_k = 0.0
    product = 1.0  # of 1 + q/ν: one logarithm serves many rows
    for i in range(0, len(y), step):
        t = arm[i]
        if t != 0 and t != other:
            continue
        a = 1.0 if t else 0.0
        weight = w[i] if len(w) else 1.0
        v = (g[i] - centre) / spread if len(g) else 0.0
        r = (y[i] - (ratio * z[i] if len(z) else ratio)) / scale - b0 - b1 * a - b2 * v
        q = r * r / s2
        d = 1.0 / (nu + q)
        e = weight * (nu + 1.0) * d
        h = e * (nu - q) * d
        m = e * nu * d * r
        k = weight * (q - 1.0) * d * d
        if len(w):
            s_log += weight * log1p(q / nu)
        else:
            product *= 1.0 + q / nu
            if product > 1e150:
                s_log += log(product)
                product = 1.0
        s_n += 1.0
        s_w += weight
        s_e += e
        s_ev += e * v
        s_evv += e * v * v
        s_er += e * r
        s_erv += e * r * v
        s_eq += e * q
        s_h += h
        s_hv += h * v
        s_hvv += h * v * v
        s_m += m
        s_mv += m * v
        s_eqd += e * q * d
        s_k += k * r
        s_kv += k * r * v
        s_kq += k * q
        t_e += a * e
        t_ev += a * e * v
        t_er += a * e * r
        t_h += a * h
        t_hv += a * h * v
        t_m += a * m
        t_k += a * k * r
    s_log += log(product)
    both = StudentSums(
        s_w, s_log, s_e, s_ev, s_evv, s_er, s_erv, s_eq, s_h, s_hv, s_hvv, s_m, s_mv, s_eqd, s_k, s_kv, s_kq, s_n
    )
    return both, TreatedSums(t_e, t_ev, t_er, t_h, t_hv, t_m, t_k)
