"""The response network: one body, heads for all treatments, and the likelihood of the logged outcomes."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from largesse.logs import Logs
from largesse.models.nets.heads import cost_heads, value_heads
from largesse.models.nets.rows import Rows
from largesse.models.nets.standardise import Standardised
from largesse.models.outcome import Outcome

__all__ = ["ResponseNet"]


class ResponseNet(Standardised):
    """Predicts E value, P(value > 0) and E cost of every treatment from features.

    Standardised features pass through a body of ReLU layers. Value heads give the parameters of the outcome family per
    treatment. Cost heads are structured: control costs 0 (unless `control_cost`), ordered levels do not fall in cost.

    Args:
        features: Number of features d.
        treatments: Number of treatments M.
        outcome: Family of the value and rule of the cost.
        hidden: Widths of the body.
        plain: Unrestricted heads and squared errors, as in published networks.
        scales: Typical size of a value and of a cost, the units of squared errors.
        dropout: Share of hidden units dropped in each step.
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
        self.value_heads = value_heads(outcome, plain, scales[0])
        self.cost_heads = cost_heads(outcome, plain, scales[1])
        widths = (features, *hidden)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers)
        self.free, self.parts = self.value_heads.free, self.value_heads.parts
        self.value = nn.Linear(widths[-1], self.free * treatments)
        if not plain:  # all arms start with the same prediction
            self.common = nn.Linear(widths[-1], self.parts)
            self.shift = nn.Parameter(torch.zeros(self.parts - self.free, treatments))
            self.drift = nn.Linear(widths[-1], self.free * treatments)
            nn.init.zeros_(self.drift.weight)
            nn.init.zeros_(self.drift.bias)
            nn.init.zeros_(self.value.weight)
            nn.init.zeros_(self.value.bias)
        self.cost = None if self.cost_heads is None else nn.Linear(widths[-1], treatments)

    def forward(self, x: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns raw value heads (N, parts, M) and structured cost heads (N, M).

        `observed` (N,) is 1 for rows of an observational log. Their value heads include a drift, which absorbs the selection
        by the past policy. Predictions are made without it.
        """
        return self.heads(self.represent(x), observed)

    def heads(self, h: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns the heads from the last hidden layer h (N, hidden), see `represent`."""
        value = self.value(h).unflatten(1, (self.free, self.m))  # (N, free, M)
        if observed is not None and not self.plain:
            value = value + self.drift(h).unflatten(1, (self.free, self.m)) * observed[:, None, None]
        if not self.plain:
            # Basket sizes differ between arms by a constant factor, purchase probabilities without restriction.
            others = self.shift.expand(len(h), -1, -1)
            value = self.common(h)[:, :, None] + torch.cat([value, others], 1)  # (N, parts, M)
        if self.cost is None or self.cost_heads is None:
            return value, None
        return value, self.cost_heads.structured(self.cost(h))

    def represent(self, x: Tensor) -> Tensor:
        """Returns the last hidden layer, the input of the heads, (N, hidden)."""
        h: Tensor = self.body(self.standardise(x))
        return h

    def loss(self, rows: Rows) -> Tensor:
        """Returns the weighted mean loss of the logged outcomes: negative log likelihood of value plus that of cost."""
        return self.logged(self(rows.features, rows.observed), rows)

    def logged(self, raw: tuple[Tensor, Tensor | None], rows: Rows) -> Tensor:
        """Returns this loss from the heads of the rows, see `forward`."""
        return (rows.weight * self.each(raw, rows)).sum() / rows.weight.sum()

    def each(self, raw: tuple[Tensor, Tensor | None], rows: Rows) -> Tensor:
        """Returns the loss of each row's logged outcomes, (N,)."""
        first, *others = self.tasks(raw, rows)
        return sum(others, first)

    def tasks(self, raw: tuple[Tensor, Tensor | None], rows: Rows) -> tuple[Tensor, ...]:
        """Returns each row's loss by task, (N,) each: value, then P(value > 0) and cost if they have heads of their own."""
        heads, costs = raw
        t = rows.treatment[:, None]
        taken = heads.gather(2, t[:, None].expand(-1, self.parts, 1)).squeeze(2)  # (N, parts)
        losses = self.value_heads.losses(taken, rows.value)
        if costs is None or self.cost_heads is None:
            return losses
        return (*losses, self.cost_heads.loss(costs.gather(1, t).squeeze(1), rows.cost, rows.treatment))

    def divergence(
        self, raw: tuple[Tensor, Tensor | None], teacher: tuple[Tensor, Tensor | None, Tensor | None]
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the divergence of each value and cost head from a teacher's predictions, each (N, M).

        It is the head's loss, without constants, with the teacher's means (see `predict_response`) as targets.
        """
        heads, costs = raw
        value, conversion, cost = teacher
        of_value = self.value_heads.divergence(heads, value, conversion)
        if costs is None or cost is None or self.cost_heads is None:
            return of_value, None
        return of_value, self.cost_heads.divergence(costs, cost)

    def predict_response(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns E value, P(value > 0) and E cost, each (N, M); None where not modelled."""
        return self.expected(self(x))

    def expected(self, raw: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns the response from heads, see `forward`."""
        heads, costs = raw
        value, conversion = self.value_heads.expected(heads)
        if costs is None or self.cost_heads is None:
            return value, conversion, None
        return value, conversion, self.cost_heads.expected(costs)

    def menu(self, raw: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        """Returns value and cost of every treatment, each (N, M), as `Outcome.menu` computes them, but differentiable."""
        value, conversion, cost = self.expected(raw)
        outcome = self.outcome
        if outcome.monotone and not self.plain:
            value, conversion = _rising(value), None if conversion is None else _rising(conversion)
        if cost is not None:
            return value, cost.clamp_min(0)  # plain heads can be negative
        assert outcome.rule is not None
        amounts = torch.tensor(outcome.amounts, dtype=value.dtype)
        return value, (amounts * outcome.rule.base(value, conversion)).expand_as(value)

    def start(self, rows: Logs) -> None:
        """Sets the biases so that the network predicts the mean value of the rows for every unit."""
        with torch.no_grad():
            bias = self.value.bias if self.plain else self.common.bias
            bias.view(self.parts, -1)[...] = torch.tensor(self.value_heads.start(rows))[:, None]


def _rising(table: Tensor) -> Tensor:
    """Returns rows (N, M) made non-decreasing, as `outcome.rising` does."""
    above = table.cummax(1).values
    below = table.flip(1).cummin(1).values.flip(1)
    return (above + below) / 2
