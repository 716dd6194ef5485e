"""Worlds with known truth: trials, logs of a past policy, and the exact menu behind both.

The story of a row. A unit has features x and a mood u ~ N(0, 1), independent of x, that no table records. A treatment
of level l in [0, 1] (its amount over the largest amount) moves the index of an order (or of a visit):

    index(x, l) = start(x) + gain(x) · h,    h = l^k / (l^k + θ^k),    θ = θ(x), k = k(x)

so a unit reacts smoothly or only above its own threshold θ, and saturates. `start`, `gain`, θ and k are random surfaces
of the features: smooth curves, steps, products and corners in about equal parts, so that no family of learners is
favoured. "Always buyers" order anyway and "never buyers" do not; neither reacts. Most features are weak or irrelevant.

    P(order | x, u, l) = Φ(√(1 + g²) · index / noise + g u)      hence      P(order | x, l) = Φ(index / noise)

with g the knob `confounding`: the exact menu given x does not depend on it. A basket is log-normal given an order,
exp(m(x, l) + k u + s ε), hence E[order · basket | x, l] = exp(m + s²/2 + k²/2) · Φ(index / noise + g k / √(1 + g²)).

A trial (`World.rct`) draws the treatment from fixed shares. A past policy's log (`World.obs`) follows an older
model that saw part of the truth, plus the mood u: a team that knows more than its tables. That is what biases it.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.

>>> world = money_off(seed=3, n_features=40)
>>> rows = world.rct(1000, seed=1)
>>> rows.treatments == world.treatments, world.truth(rows.x).value.shape
(True, (1000, 8))

Value and cost are per unit and decision period; amounts are money, or a share of the basket in `discount`.
"""

from largesse.simulate.policy_log import Hybrid, hybrid
from largesse.simulate.worlds import Knobs, World, criteo_twin, discount, money_off

__all__ = ["Hybrid", "Knobs", "World", "criteo_twin", "discount", "hybrid", "money_off"]
