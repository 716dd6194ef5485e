"""Simulated worlds with exact expected values: trials, past campaign data, and the exact menu behind both.

A menu is the predicted value and cost per unit and treatment; here it is exact. A unit has features x and an unobserved
confounder u ~ N(0, 1), independent of x. A treatment with level l in [0, 1] (its amount divided by the largest amount)
moves the index of an order (or of a visit):

    index(x, l) = start(x) + gain(x) · h,    h = l^k / (l^k + θ^k),    θ = θ(x), k = k(x)

The response is smooth or a jump at the unit's own threshold θ, and saturates. `start`, `gain`, θ and k are random surfaces
of the features: smooth curves, steps, products and corners in about equal parts, so that no family of learners has an
advantage. Some units always order and some never do; neither react to a treatment. Most features are weak or irrelevant.

    P(order | x, u, l) = Φ(√(1 + g²) · index / noise + g u)      hence      P(order | x, l) = Φ(index / noise)

with g the setting `confounding`: the exact menu given x does not depend on it. A basket is log-normal given an order,
exp(m(x, l) + k u + s ε), hence E[order · basket | x, l] = exp(m + s²/2 + k²/2) · Φ(index / noise + g k / √(1 + g²)).

A trial (`World.rct`) assigns treatments at random with fixed shares. The past campaign data (`World.obs`) come from a
policy that follows an imperfect model of the response and the confounder u, which no table records: a naive comparison of
its treatments is biased.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.

>>> world = money_off(seed=3, n_features=40)
>>> rows = world.rct(1000, seed=1)
>>> rows.treatments == world.treatments, world.truth(rows.x).value.shape
(True, (1000, 8))

Value and cost are per unit and decision period; amounts are in currency, or a share of the basket in `discount`.
"""

from largesse.simulate.policy_log import Hybrid, hybrid
from largesse.simulate.worlds import Difficulty, World, criteo_twin, discount, money_off

__all__ = ["Difficulty", "Hybrid", "World", "criteo_twin", "discount", "hybrid", "money_off"]
