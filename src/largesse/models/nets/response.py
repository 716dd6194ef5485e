"""The response network: one body, heads for all treatments, and the likelihood of what was logged."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from largesse.models.nets.standardise import Standardised
from largesse.models.outcome import Outcome

__all__ = ["ResponseNet"]

_SIGMA = (0.05, 5.0)


class ResponseNet(Standardised):
    """Features -> E value, P(value > 0), E cost of every treatment.

    Standardised features pass a body of ReLU layers. Value heads are family parameters per treatment. Cost heads are
    structured: control costs nothing (unless it may), ordered levels cost more and more. `plain` takes both
    structures away, for parity with published networks.

    Args:
        features: Number of features d.
        treatments: Number of treatments M.
        outcome: Family of the value and rule of the cost.
        hidden: Widths of the body.
        plain: Free heads and squared errors, as published.
        scales: Typical size of a value and of a cost: squared errors are measured in these units.
    """

    def __init__(
        self,
        features: int,
        treatments: int,
        outcome: Outcome,
        hidden: tuple[int, ...],
        plain: bool,
        scales: tuple[float, float],
        dropout: float = 0.0,
    ) -> None:
        super().__init__(features)
        self.m, self.outcome, self.plain = treatments, outcome, plain
        self.value_scale, self.cost_scale = scales
        widths = (features, *hidden)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers)
        # A coupon that is redeemed with a count or an amount needs P(value > 0) beside the mean.
        asks = outcome.cost_rule == "per_redemption" and outcome.family in ("poisson", "gaussian") and not plain
        self.free = 2 if asks else 1  # parts that differ between arms as they like
        self.parts = 3 if outcome.family == "zero_inflated_lognormal" and not plain else self.free
        self.value = nn.Linear(widths[-1], self.free * treatments)
        if not plain:  # all arms start alike: what differs between them has to be learned
            self.common = nn.Linear(widths[-1], self.parts)
            self.shift = nn.Parameter(torch.zeros(self.parts - self.free, treatments))
            self.drift = nn.Linear(widths[-1], self.free * treatments)
            nn.init.zeros_(self.drift.weight)
            nn.init.zeros_(self.drift.bias)
            nn.init.zeros_(self.value.weight)
            nn.init.zeros_(self.value.bias)
        self.cost = nn.Linear(widths[-1], treatments) if outcome.cost_rule == "learned" else None

    def forward(self, x: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns raw value heads (N, parts, M) and raw cost heads (N, M).

        `observed` (N,) is 1 for rows of an observational log. Their arms differ from the trial's by a drift of their
        own: who was chosen by the past policy is not who was drawn at random. Predictions are for the trial.
        """
        return self.heads(self.represent(x), observed)

    def heads(self, h: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns the same from the last hidden layer, as `represent` gives it."""
        value = self.value(h).unflatten(1, (self.free, self.m))  # (N, free, M)
        if observed is not None and not self.plain:
            value = value + self.drift(h).unflatten(1, (self.free, self.m)) * observed[:, None, None]
        if not self.plain:
            # A basket's size differs between arms by a constant factor; who buys differs freely.
            others = self.shift.expand(len(h), -1, -1)
            value = self.common(h)[:, :, None] + torch.cat([value, others], 1)  # (N, parts, M)
        return value, None if self.cost is None else self.costs(self.cost(h))

    def represent(self, x: Tensor) -> Tensor:
        """Returns what the heads read: the last hidden layer (N, hidden)."""
        h: Tensor = self.body(self.standardise(x))
        return h

    def costs(self, raw: Tensor) -> Tensor:
        """Gives cost heads (N, M) their structure; logits if costs are 0 or 1, else in units of the cost's scale."""
        outcome = self.outcome
        if self.plain:
            return raw
        if outcome.cost_binary:
            if not outcome.ordered:
                return raw
            return torch.cat([raw[:, :1], raw[:, :1] + F.softplus(raw[:, 1:]).cumsum(1)], 1)
        steps = F.softplus(raw)
        if not outcome.control_cost:
            steps = torch.cat([torch.zeros_like(steps[:, :1]), steps[:, 1:]], 1)
        if outcome.ordered:
            return steps.cumsum(1)
        return steps

    def loss(
        self, x: Tensor, t: Tensor, value: Tensor, cost: Tensor, weight: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Returns the weighted mean loss of the logged outcomes: -log likelihood of the value plus that of the cost."""
        return self.logged(self(x, observed), t, value, cost, weight)

    def logged(
        self, raw: tuple[Tensor, Tensor | None], t: Tensor, value: Tensor, cost: Tensor, weight: Tensor
    ) -> Tensor:
        """Returns the same from raw heads, as `forward` gives them."""
        return (weight * self.each(raw, t, value, cost)).sum() / weight.sum()

    def each(self, raw: tuple[Tensor, Tensor | None], t: Tensor, value: Tensor, cost: Tensor) -> Tensor:
        """Returns the loss of each row's logged outcomes, (N,)."""
        first, *others = self.tasks(raw, t, value, cost)
        for other in others:
            first = first + other
        return first

    def tasks(self, raw: tuple[Tensor, Tensor | None], t: Tensor, value: Tensor, cost: Tensor) -> tuple[Tensor, ...]:
        """Returns the same task by task, (N,) each: the value, P(value > 0) and the cost, where there are heads for them."""
        heads, costs = raw
        taken = heads.gather(2, t[:, None, None].expand(-1, self.parts, 1)).squeeze(2)  # (N, parts)
        found = self.value_losses(taken, value)
        if costs is None:
            return found
        return (*found, self.cost_loss(costs.gather(1, t[:, None]).squeeze(1), cost, t))

    def apart(
        self, raw: tuple[Tensor, Tensor | None], told: tuple[Tensor, Tensor | None, Tensor | None]
    ) -> tuple[Tensor, Tensor | None]:
        """Returns how far each head is from what a teacher told, in the heads' own likelihood: value, cost, each (N, M).

        `told` are means as `respond` gives them: of the value, of P(value > 0) and of the cost. Constants are dropped.
        """
        heads, costs = raw
        value, redeem, cost = told
        far = self._value_apart(heads, value, redeem)
        if costs is None or cost is None:
            return far, None
        if self.outcome.cost_binary and not self.plain:
            off = F.binary_cross_entropy_with_logits(costs, cost.clamp(0, 1), reduction="none")
            return far, off if self.outcome.control_cost else torch.cat([torch.zeros_like(off[:, :1]), off[:, 1:]], 1)
        return far, (costs - cost / self.cost_scale) ** 2

    def _value_apart(self, heads: Tensor, value: Tensor, redeem: Tensor | None) -> Tensor:
        family, bce = "gaussian" if self.plain else self.outcome.family, F.binary_cross_entropy_with_logits
        if family == "bernoulli":
            return bce(heads[:, 0], value.clamp(0, 1), reduction="none")
        if family == "poisson":
            far = F.poisson_nll_loss(heads[:, 0], value.clamp_min(0), log_input=True, reduction="none")
        elif family == "gaussian":
            far = (heads[:, 0] - value / self.value_scale) ** 2
        else:
            assert redeem is not None, "a basket's teacher tells P(value > 0)"
            sigma = F.softplus(heads[:, 2]).clamp(*_SIGMA).detach()
            basket = (value / redeem.clamp_min(1e-6)).clamp_min(1e-12).log() - sigma**2 / 2  # the mean of its logarithm
            off = ((basket - heads[:, 1]) / sigma) ** 2 / 2
            return bce(heads[:, 0], redeem.clamp(0, 1), reduction="none") + redeem * off
        return far if self.free == 1 or redeem is None else far + bce(heads[:, 1], redeem.clamp(0, 1), reduction="none")

    def value_losses(self, head: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Returns -log likelihood per row, constants dropped, squared error for gaussian and plain heads: the value's, (N,).

        Where a head of its own tells P(value > 0), its loss follows, and the value's is that of the basket.
        """
        family = "gaussian" if self.plain else self.outcome.family
        if family == "bernoulli":
            return (F.binary_cross_entropy_with_logits(head[:, 0], value, reduction="none"),)
        bought = (value > 0).to(value.dtype)
        if family != "zero_inflated_lognormal":
            if family == "poisson":
                each = F.poisson_nll_loss(head[:, 0], value, log_input=True, reduction="none")
            else:
                each = (head[:, 0] - value / self.value_scale) ** 2
            if self.free == 1:
                return (each,)
            return each, F.binary_cross_entropy_with_logits(head[:, 1], bought, reduction="none")
        sigma = F.softplus(head[:, 2]).clamp(*_SIGMA)
        basket = ((value.clamp_min(1e-12).log() - head[:, 1]) / sigma) ** 2 / 2 + sigma.log()
        return bought * basket, F.binary_cross_entropy_with_logits(head[:, 0], bought, reduction="none")

    def least(self, value: Tensor) -> Tensor:
        """Returns what no prediction gets the value's loss below, (N,)."""
        family = "gaussian" if self.plain else self.outcome.family
        if family == "poisson":
            return value - torch.xlogy(value, value)
        if family == "zero_inflated_lognormal":
            return (value > 0) * math.log(_SIGMA[0])
        return torch.zeros_like(value)

    def cost_loss(self, head: Tensor, cost: Tensor, t: Tensor) -> Tensor:
        """Returns the loss of a learned cost per row (N,)."""
        if self.outcome.cost_binary and not self.plain:
            each = F.binary_cross_entropy_with_logits(head, cost, reduction="none")
            return each if self.outcome.control_cost else each * (t > 0)
        return (head - cost / self.cost_scale) ** 2

    def respond(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns E value, P(value > 0) and E cost, each (N, M); None where not known."""
        return self.expected(self(x))

    def expected(self, raw: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns the same from raw heads, as `forward` gives them."""
        heads, costs = raw
        value, redeem = self._expect(heads)
        if costs is None:
            return value, redeem, None
        if not self.outcome.cost_binary or self.plain:
            return value, redeem, costs * self.cost_scale
        cost = costs.sigmoid()
        if not self.outcome.control_cost:
            cost = torch.cat([torch.zeros_like(cost[:, :1]), cost[:, 1:]], 1)
        return value, redeem, cost

    def menu(self, raw: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        """Returns value and cost of every treatment, each (N, M), differentiable: what `Outcome.menu` makes of the response."""
        value, redeem, cost = self.expected(raw)
        outcome = self.outcome
        if outcome.monotone and not self.plain:
            value, redeem = _rising(value), None if redeem is None else _rising(redeem)
        if cost is not None:
            return value, cost.clamp_min(0)  # free heads may go below
        amounts = torch.tensor(outcome.amounts, dtype=value.dtype)
        if outcome.cost_rule == "per_contact":
            return value, amounts.expand_as(value)
        if outcome.cost_rule == "share_of_value":
            return value, amounts * value.clamp_min(0)
        assert redeem is not None, "a redemption needs P(value > 0)"
        return value, amounts * redeem

    def _expect(self, heads: Tensor) -> tuple[Tensor, Tensor | None]:
        family = "gaussian" if self.plain else self.outcome.family
        if family == "bernoulli":
            p = heads[:, 0].sigmoid()
            return p, p
        if family != "zero_inflated_lognormal":
            mean = heads[:, 0].clamp_max(20).exp() if family == "poisson" else heads[:, 0] * self.value_scale
            return mean, heads[:, 1].sigmoid() if self.free == 2 else None
        p, sigma = heads[:, 0].sigmoid(), F.softplus(heads[:, 2]).clamp(*_SIGMA)
        return p * (heads[:, 1] + sigma**2 / 2).clamp_max(30).exp(), p


def _rising(table: Tensor) -> Tensor:
    """Returns rows that never fall from one level to the next, as `outcome.rising` makes them."""
    above = table.cummax(1).values
    below = table.flip(1).cummin(1).values.flip(1)
    return (above + below) / 2
