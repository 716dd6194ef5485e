"""The loops over rows, compiled. Each returns sums that add over blocks of rows.

A column that is not given is an array without entries. `arm` holds codes, control is 0.
"""

from __future__ import annotations

from math import log, log1p
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["moments", "student"]

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def moments(columns: Array, weight: Array, arm: Array, arms: int, shift: Array) -> tuple[Array, Array, Array]:
    """Returns weighted sums of columns by arm, each column less its shift.

    Args:
        columns: (K, n).
        weight: Weight of each row (n,), or ().
        arm: Codes (n,).
        arms: Number of arms M.
        shift: Near the middle of each column, so that squares lose no digits (K,).

    Returns:
        Rows and weight of each arm (M, 2), sums (M, K), sums of products (M, K, K).
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


@njit(cache=True, nogil=True, error_model="numpy")
def student(
    y: Array, z: Array, g: Array, w: Array, arm: Array, other: int, scaling: Array, theta: Array, step: int
) -> Array:
    """Returns the sums of one pass of the Student-t model over a block, over both arms and over the other arm, (2, 18).

    With u = (y - ratio z) / scale, v = (g - centre) / spread, T = 1 in the other arm, r = u - b0 - b1 T - b2 v,
    q = r² / σ², D = 1 / (ν + q), η = (ν + 1) D, the columns are sums of w times:
    1, ln(1 + q/ν); η, ηv, ηv², ηr, ηrv, ηq; then for the curvature h = η (ν - q) D: h, hv, hv²;
    η ν D r, η ν D r v, ηqD; (q - 1) D² r, (q - 1) D² r v, (q - 1) D² q; and the number of rows, without w.
    Of the other arm only what meets T is kept: η, ηv, ηr, h, hv, η ν D r, (q - 1) D² r.

    Args:
        y: Metric (n,).
        z: Denominator (n,), or () where it is 1.
        g: Prediction (n,), or ().
        w: Weight (n,), or ().
        arm: Codes (n,); rows of arms other than control and `other` are passed over.
        other: Code of the arm compared with control.
        scaling: Ratio, scale, centre, spread (4,).
        theta: b0, b1, b2, σ², ν (5,).
        step: Every step-th row counts.
    """
    out = np.zeros((2, 18))
    b0, b1, b2, s2, nu = theta
    ratio, scale, centre, spread = scaling
    # Sums over both arms (s) and over the other arm (o), in registers.
    s_w = s_log = s_e = s_ev = s_evv = s_er = s_erv = s_eq = s_h = s_hv = s_hvv = 0.0
    s_m = s_mv = s_eqd = s_k = s_kv = s_kq = s_n = 0.0
    o_e = o_ev = o_er = o_h = o_hv = o_m = o_k = 0.0
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
        o_e += a * e
        o_ev += a * e * v
        o_er += a * e * r
        o_h += a * h
        o_hv += a * h * v
        o_m += a * m
        o_k += a * k * r
    s_log += log(product)
    whole = (s_w, s_log, s_e, s_ev, s_evv, s_er, s_erv, s_eq, s_h, s_hv, s_hvv, s_m, s_mv, s_eqd, s_k, s_kv, s_kq, s_n)
    for c in range(18):
        out[0, c] = whole[c]
    out[1, 2], out[1, 3], out[1, 5], out[1, 8], out[1, 9], out[1, 11], out[1, 14] = o_e, o_ev, o_er, o_h, o_hv, o_m, o_k
    return out
