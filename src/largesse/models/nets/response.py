"""The response network: one body, heads for all treatments, and the likelihood of what was logged."""

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
        self.value_heads = value_heads(outcome, plain, scales[0])
        self.cost_heads = cost_heads(outcome, plain, scales[1])
        widths = (features, *hidden)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers)
        self.free, self.parts = self.value_heads.free, self.value_heads.parts
        self.value = nn.Linear(widths[-1], self.free * treatments)
        if not plain:  # all arms start alike: what differs between them has to be learned
            self.common = nn.Linear(widths[-1], self.parts)
            self.shift = nn.Parameter(torch.zeros(self.parts - self.free, treatments))
            self.drift = nn.Linear(widths[-1], self.free * treatments)
            nn.init.zeros_(self.drift.weight)
            nn.init.zeros_(self.drift.bias)
            nn.init.zeros_(self.value.weight)
            nn.init.zeros_(self.value.bias)
        self.cost = None if self.cost_heads is None else nn.Linear(widths[-1], treatments)

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
        if self.cost is None or self.cost_heads is None:
            return value, None
        return value, self.cost_heads.structured(self.cost(h))

    def represent(self, x: Tensor) -> Tensor:
        """Returns what the heads read: the last hidden layer (N, hidden)."""
        h: Tensor = self.body(self.standardise(x))
        return h

    def loss(self, rows: Rows) -> Tensor:
        """Returns the weighted mean loss of the logged outcomes: -log likelihood of the value plus that of the cost."""
        return self.logged(self(rows.features, rows.observed), rows)

    def logged(self, raw: tuple[Tensor, Tensor | None], rows: Rows) -> Tensor:
        """Returns the same from raw heads of the rows, as `forward` gives them."""
        return (rows.weight * self.each(raw, rows)).sum() / rows.weight.sum()

    def each(self, raw: tuple[Tensor, Tensor | None], rows: Rows) -> Tensor:
        """Returns the loss of each row's logged outcomes, (N,)."""
        first, *others = self.tasks(raw, rows)
        for other in others:
            first = first + other
        return first

    def tasks(self, raw: tuple[Tensor, Tensor | None], rows: Rows) -> tuple[Tensor, ...]:
        """Returns the same task by task, (N,) each: the value, P(value > 0) and the cost, where there are heads for them."""
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
        """Returns how far each head is from a teacher, in the head's own likelihood: value, cost, each (N, M).

        `teacher` are means as `predict_response` gives them: of the value, of P(value > 0) and of the cost. Constants are
        dropped.
        """
        heads, costs = raw
        value, conversion, cost = teacher
        far = self.value_heads.divergence(heads, value, conversion)
        if costs is None or cost is None or self.cost_heads is None:
            return far, None
        return far, self.cost_heads.divergence(costs, cost)

    def predict_response(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns E value, P(value > 0) and E cost, each (N, M); None where not known."""
        return self.expected(self(x))

    def expected(self, raw: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns the same from raw heads, as `forward` gives them."""
        heads, costs = raw
        value, conversion = self.value_heads.expected(heads)
        if costs is None or self.cost_heads is None:
            return value, conversion, None
        return value, conversion, self.cost_heads.expected(costs)

    def menu(self, raw: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        """Returns value and cost of every treatment, each (N, M), differentiable: what `Outcome.menu` makes of the response."""
        value, conversion, cost = self.expected(raw)
        outcome = self.outcome
        if outcome.monotone and not self.plain:
            value, conversion = _rising(value), None if conversion is None else _rising(conversion)
        if cost is not None:
            return value, cost.clamp_min(0)  # free heads may go below
        assert outcome.rule is not None
        amounts = torch.tensor(outcome.amounts, dtype=value.dtype)
        return value, (amounts * outcome.rule.base(value, conversion)).expand_as(value)

    def start(self, rows: Logs) -> None:
        """Puts the values at the mean of the rows, so that training begins from "everybody is average"."""
        with torch.no_grad():
            bias = self.value.bias if self.plain else self.common.bias
            bias.view(self.parts, -1)[...] = torch.tensor(self.value_heads.start(rows))[:, None]


def _rising(table: Tensor) -> Tensor:
    """Returns rows that never fall from one level to the next, as `outcome.rising` makes them."""
    above = table.cummax(1).values
    below = table.flip(1).cummin(1).values.flip(1)
    return (above + below) / 2
