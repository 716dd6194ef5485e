"""Describes clusters for all forms of a report: size, typical units, value and cost under each treatment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from largesse import _check
from largesse._arguments import checked
from largesse.report.numbers import between, count, interval, number, percent, places

__all__ = [
    "ClusterCard",
    "Clusters",
    "Trait",
    "card_title",
    "cluster_note",
    "cluster_rows",
    "response_rows",
    "traits_of",
]


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """A feature in which the units of a cluster differ from all units.

    Attributes:
        feature: Name of the feature.
        inside: Mean in the cluster; a share where the feature is yes or no.
        everywhere: Mean over all units.
        difference: `inside` less `everywhere`, in standard deviations of all units.
        share: Whether the feature is yes or no.
    """

    feature: str
    inside: float
    everywhere: float
    difference: float
    share: bool = False


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCard:
    """One cluster.

    Attributes:
        name: Its number.
        share: Share of the units, in [0, 1].
        rows: Its rows of the trial.
        traits: Features in which its units differ most from all units, the largest difference first.
        value: Value per unit under each treatment, control first, with the ends of its interval, (M, 3).
        cost: Cost per unit, likewise.
    """

    name: str
    share: float
    rows: int
    traits: tuple[Trait, ...]
    value: tuple[tuple[float, float, float], ...]
    cost: tuple[tuple[float, float, float], ...]


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The clusters of a model, the largest first.

    Attributes:
        cards: The clusters that are shown.
        treatments: Names of the treatments, control first, (M,).
        total: Number of clusters.
        model: The candidate that they belong to.
        chosen: Whether that candidate is the policy to ship.
    """

    cards: tuple[ClusterCard, ...]
    treatments: tuple[str, ...]
    total: int
    model: str
    chosen: bool

    def __post_init__(self) -> None:
        for card in self.cards:
            for name, ends in (("value", card.value), ("cost", card.cost)):
                if len(ends) != len(self.treatments):
                    rule = f"{len(self.treatments)} treatments are named"
                    raise _check.refuse(f"len({name}) of cluster {card.name}", len(ends), rule, "One per treatment.")

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest end of any interval of the value: the axis of all charts."""
        ends = [end for card in self.cards for low_high in card.value for end in low_high[1:]]
        return min(ends), max(ends)


def card_title(card: ClusterCard) -> str:
    """Returns e.g. ``"Cluster 3: 12 % of the units"``."""
    return f"Cluster {card.name}: {percent(card.share)} of the units"


def traits_of(card: ClusterCard) -> str:
    """Returns in words how the units of a cluster differ from all units."""
    return "; ".join(map(_trait, card.traits)) if card.traits else "Much like all units."


def _trait(trait: Trait) -> str:
    if trait.share:
        return f"{trait.feature}: {percent(trait.inside)} (all: {percent(trait.everywhere)})"
    difference = number(trait.difference, decimals=1, sign=True)
    return f"{trait.feature}: {number(trait.inside)} (all: {number(trait.everywhere)}, {difference} sd)"


def cluster_note(clusters: Clusters, level: float) -> str:
    """Returns which clusters the cards show, and how to read them."""
    shown, total = len(clusters.cards), clusters.total
    most = f"The {shown} largest of {total} clusters" if shown < total else f"The {total} clusters"
    chosen = "" if clusters.chosen else ", which was not chosen"
    return (
        f"{most} of {clusters.model}{chosen}. Sizes and features are those of the trial. Value and cost are means of trial rows, "
        f"shrunk towards the network's prediction for the cluster, each with its own {percent(level)} interval."
    )


def response_rows(clusters: Clusters, card: ClusterCard) -> Iterable[tuple[str, str, str, str, str]]:
    """Returns treatment, value, its interval, cost and its interval, a row for each treatment."""
    shown, paid = (_decimals(ends) for ends in (card.value, card.cost))
    for name, value, cost in zip(clusters.treatments, card.value, card.cost, strict=True):
        yield (
            name, number(value[0], decimals=shown), between(*value[1:], decimals=shown), number(cost[0], decimals=paid),
            between(*cost[1:], decimals=paid),
        )  # fmt: skip


def cluster_rows(clusters: Clusters) -> Iterable[tuple[str, ...]]:
    """Returns a row for each cluster: name, share of units, trial rows, traits, and value and cost of each treatment."""
    for card in clusters.cards:
        value, cost = _decimals(card.value), _decimals(card.cost)
        cells = [
            f"{interval(*v, decimals=value)} for {number(c[0], decimals=cost)}"
            for v, c in zip(card.value, card.cost, strict=True)
        ]
        yield card.name, percent(card.share), count(card.rows), traits_of(card), *cells


def _decimals(ends: Iterable[tuple[Any, Any, Any]]) -> int:
    return places((high - low) / 2 for _, low, high in ends)
