"""The hyper-parameters of each named model: their places in the model, their allowed values and their search ranges.

A campaign sets them in ``model.settings``; `largesse.commands.tune` searches them. Defaults are read from the model, so that
they always agree with the code. A search range becomes an Optuna distribution only when a search runs: checking settings
does not need Optuna.

>>> sorted(SPACES["lightgbm-rct"])
['l2', 'leaf_rows', 'leaves', 'rate', 'rounds']
>>> checked({"mlp": {"rate": 0.01, "hidden": [64, 32]}})
{'mlp': {'rate': 0.01, 'hidden': (64, 32)}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from largesse.errors import ConfigError
from largesse.models.base import Model
from largesse.roles import nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = [
    "SPACES", "Hyperparameter", "Number", "OneOf", "Space", "Value", "Widths", "applicable", "applied", "checked", "current",
]  # fmt: skip

Value = int | float | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric hyper-parameter.

    Attributes:
        at: Its place in the model: names of parameters, outermost first.
        meaning: In words.
        low: Lower end of the search range.
        high: Upper end of the search range.
        least: Smallest allowed value.
        most: Largest allowed value.
        log: Whether the search is on a logarithmic scale.
        integer: Whether it is a whole number.
        relative: Whether `low` and `high` are multiples of the model's current value.
        default: Value of the model where the parameter is not set.
        unless: Another setting, and its value at which this hyper-parameter does not exist.
    """

    at: tuple[str, ...]
    meaning: str
    low: float
    high: float
    least: float
    most: float
    log: bool = True
    integer: bool = False
    relative: bool = False
    default: float | None = None
    unless: tuple[str, str] | None = None

    @property
    def rule(self) -> str:
        """What a value must be."""
        return f"must be a {'whole ' if self.integer else ''}number in [{self.least:g}, {self.most:g}]"

    def value(self, got: Any) -> Value | None:
        """Returns the value as the type that the model takes; None if it breaks the rule."""
        kinds = int if self.integer else int | float
        if isinstance(got, bool) or not isinstance(got, kinds) or not self.least <= got <= self.most:
            return None
        return int(got) if self.integer else float(got)

    def distribution(self, own: Value) -> BaseDistribution:
        """Returns the search range as an Optuna distribution, for a model whose current value is `own`."""
        from optuna.distributions import FloatDistribution, IntDistribution

        times = float(own) if self.relative else 1.0  # type: ignore[arg-type]
        low, high = max(self.least, self.low * times), min(self.most, self.high * times)
        if self.integer:
            return IntDistribution(max(1, round(low)), max(2, round(high)), log=self.log)
        return FloatDistribution(low, high, log=self.log)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A categorical hyper-parameter.

    Attributes:
        at: Its place in the model, as for `Number`.
        meaning: In words.
        options: The allowed values.
    """

    at: tuple[str, ...]
    meaning: str
    options: tuple[Value, ...]

    @property
    def rule(self) -> str:
        """What a value must be."""
        return f"must be one of {', '.join(map(repr, self.options))}"

    def value(self, got: Any) -> Value | None:
        """Returns the value as the type that the model takes; None if it breaks the rule."""
        return got if isinstance(got, str) and got in self.options else None

    def distribution(self, own: Value) -> BaseDistribution:
        """Returns the search range as an Optuna distribution of the positions of the options, from 0."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(range(len(self.options)))


class Widths(OneOf):
    """Widths of layers, or another list of whole numbers: any list that meets the rule; a search picks among `options`."""

    __slots__ = ()

    @property
    def rule(self) -> str:
        """What a value must be."""
        return "must be a list of one to six whole numbers in [1, 4096]"

    def value(self, got: Any) -> Value | None:
        """Returns the value as the type that the model takes; None if it breaks the rule."""
        if not isinstance(got, list | tuple) or not 1 <= len(got) <= 6:
            return None
        valid = all(isinstance(w, int) and not isinstance(w, bool) and 1 <= w <= 4096 for w in got)
        return tuple(got) if valid else None


Hyperparameter = Number | OneOf
Space = dict[str, Hyperparameter]
_WIDTHS = ((32, 16), (64, 32), (128, 64, 32), (256, 128, 64))


def _trees(*inside: str) -> Space:
    at = (*inside, "params")
    return {
        "leaves": Number((*at, "num_leaves"), "leaves of a tree", 4, 127, 2, 4096, integer=True, default=31),
        "rate": Number((*at, "learning_rate"), "learning rate", 0.02, 0.3, 1e-4, 1, default=0.1),
        "rounds": Number((*inside, "rounds"), "trees", 30, 500, 1, 10_000, integer=True, default=100),
        "leaf_rows": Number((*at, "min_data_in_leaf"), "least rows in a leaf", 20, 2000, 1, 1e6, integer=True, default=200),
        "l2": Number((*at, "lambda_l2"), "L2 penalty of a leaf", 0.1, 100, 0, 1e6, default=10.0),
    }  # fmt: skip


def _schedule(*inside: str, rate: tuple[float, float]) -> Space:
    at = (*inside, "schedule")
    return {
        "epochs": Number((*at, "epochs"), "passes over the rows", 0.25, 4, 1, 10_000, integer=True, relative=True),
        "rate": Number((*at, "rate"), "largest learning rate", *rate, 1e-7, 1),
    }


def _network(*inside: str) -> Space:
    return {
        **_schedule(*inside, rate=(3e-4, 2e-2)),
        "decay": Number((*inside, "schedule", "decay"), "weight decay", 1e-3, 3, 0, 100),
        "hidden": Widths((*inside, "hidden"), "widths of the body", _WIDTHS),
        "dropout": Number((*inside, "dropout"), "share of hidden units left out in a step", 0, 0.3, 0, 0.9, log=False),
    }


_DECISION: Space = {
    "decision": OneOf(("decision", "kind"), "which decision loss", ("ppl", "pifd", "dpl", "difd")),
    "temperature": Number(
        ("decision", "temperature"), "temperature of the policy, in typical gaps between two scores", 0.05, 2, 1e-6, 1e3,
        default=0.5, unless=("decision", "difd"),
    ),
}  # fmt: skip

_FOCUSED: Space = {
    **_DECISION,
    "alpha": Number(("alpha",), "weight of the prediction loss", 0.01, 10, 0, 1e6),
    **_schedule(rate=(1e-4, 1e-2)),
}

_CORRECTION: Space = {
    "correction_leaves": Number(("params", "num_leaves"), "leaves of a correction tree", 3, 32, 2, 4096, integer=True, default=8),
    "correction_rate": Number(("params", "learning_rate"), "learning rate of the correction", 0.01, 0.2, 1e-4, 1, default=0.05),
    "correction_l2": Number(("params", "lambda_l2"), "L2 penalty of a leaf of the correction", 1, 500, 0, 1e6, default=50.0),
}  # fmt: skip

_GATES: Space = {
    "gate_start": Number(("gates", "start"), "initial value of the gates", 0.1, 0.9, 1e-6, 1 - 1e-6, log=False),
    "gate_rate": Number(("gates", "rate"), "learning rate of the gates", 1e-4, 1e-2, 0, 1),
}
_FACTOR: Space = {"l2": Number(("l2",), "penalty, in units of the gradient under pure noise", 0.05, 5, 0, 1e6)}

_CLIP: Space = {"clip": Number(("clip",), "smallest propensity", 0.002, 0.1, 1e-9, 1)}
_BALANCE: Space = {"balance": Number(("balance",), "weight of the distance between arms", 0.01, 10, 0, 1e6)}
_DRAGON: Space = {
    "propensity": Number(("propensity",), "weight of the propensity loss", 0.1, 10, 0, 1e6),
    "targeted": Number(("targeted",), "weight of the targeted term", 0.01, 10, 0, 1e6),
}
_DISTIL: Space = {"distil": Number(("distil",), "weight of the distance to the teacher", 0.05, 20, 0, 1e6)}
_PENALTY: Space = {"penalty": Number(("penalty",), "weight of the distance between the networks", 1e-3, 10, 0, 1e6)}
_UPPER: Space = {"upper_rate": Number(("upper_rate",), "learning rate of the upper level", 1e-5, 1e-1, 1e-12, 10)}
_IMPUTED: Space = {"imputation": Number(("imputation",), "weight of the pseudo-labels", 0.005, 1, 0, 1e6)}

_CLUSTERS: Space = {
    "hidden": Widths(("base", "hidden"), "hidden widths, representation first", ((64, 32), (32, 16), (128, 32), (128, 64, 32))),
    "sizes": Widths(("sizes",), "numbers of clusters to choose among", ((32, 64, 128), (8, 16, 32, 64), (4, 8, 16))),
    "least": Number(("least",), "least trial rows in a cell", 10, 500, 1, 1e6, integer=True),
    "task_weights": OneOf(("base", "tasks", "weights"), "weights of the tasks", ("fixed", "learned")),
    "balance": Number(("base", "tasks", "balance"), "weight of the distance between arms", 0, 2, 0, 1e6, log=False),
}  # fmt: skip

SPACES: dict[str, Space] = {
    "lightgbm": _trees("base"),
    "mlp": _network("base"),
    "logs-then-correction": _trees("base") | _CORRECTION,
    "lightgbm-t": _trees("base"),
    "lightgbm-rct": _trees(),
    "mlp-rct": _network(),
    "mlp-published": _network(),
    "dfcl": _FOCUSED,
    "pool-then-tune": _FOCUSED,
    "lightgbm-steered": _trees("base") | _DECISION,
    "bi-dfcl": _FOCUSED | _GATES,
    "bi-dfcl-published": _schedule(rate=(1e-4, 1e-2)) | _GATES,
    **dict.fromkeys(("drp", "drm", "dum", "dpm"), _FACTOR),
    "hrc": _network("base") | _CLUSTERS,
    **dict.fromkeys(("ips", "dr-jt"), _network() | _CLIP),
    **dict.fromkeys(("cfr-wass", "cfr-mmd"), _network() | _BALANCE),
    "dragonnet": _network() | _DRAGON,
    "cause": _network() | _PENALTY,
    "kd-label": _network() | _DISTIL,
    "kd-feature": _network(),
    **dict.fromkeys(("ltd-ips", "ltd-dr"), _network() | _CLIP | _UPPER),
    "autodebias": _network() | _UPPER | _IMPUTED,
}
"""The hyper-parameters of each named model; a model without an entry has none."""


def checked(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Value]]:
    """Returns the settings with each value as the type that its model takes.

    Raises:
        ConfigError: Unknown model or hyper-parameter, or a value out of its range.
    """
    values: dict[str, dict[str, Value]] = {}
    for name, given in settings.items():
        place = f"model.settings.{name}"
        if name not in SPACES:
            raise ConfigError(
                f"{place}: unknown model. {nearest(name, tuple(SPACES))}Models with settings are {', '.join(SPACES)}."
            )
        space = SPACES[name]
        for key, got in given.items():
            field = f"{place}.{key} == {got!r}"
            if key not in space:
                names = ", ".join(space)
                raise ConfigError(f"{field}: unknown setting. {nearest(key, tuple(space))}The settings are {names}.")
            value = space[key].value(got)
            if value is None:
                raise ConfigError(f"{field}: {space[key].rule}. Meaning: {space[key].meaning}.")
            values.setdefault(name, {})[key] = value
        for key in set(given) - set(applicable(name, given)):
            other, word = getattr(space[key], "unless")  # noqa: B009
            raise ConfigError(f"{place}.{key}: does not exist where {other} is {word!r}. Leave it out.")
    return values


def applicable(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a model without those that do not exist at the value of another (`Number.unless`)."""
    unless = {key: getattr(entry, "unless", None) for key, entry in SPACES.get(name, {}).items()}
    return {k: v for k, v in settings.items() if (rule := unless[k]) is None or settings.get(rule[0]) != rule[1]}


def applied(model: Model, name: str, settings: Mapping[str, Value]) -> Model:
    """Returns an unfitted model with its hyper-parameters set; the others are left as they are."""
    for key in SPACES.get(name, {}):  # in this order: the kind of the loss before its settings
        if key in settings:
            model = _put(model, SPACES[name][key].at, settings[key])
    return model


def _put(owner: Any, at: tuple[str, ...], value: Any) -> Any:
    """Returns the owner with the value set at a place: a model is changed in place, anything else is copied."""
    name, rest = at[0], at[1:]
    if rest:
        value = _put(getattr(owner, name), rest, value)
    if isinstance(owner, Model):
        return owner.set_params(**{name: value})
    if isinstance(owner, dict) or owner is None:
        return {**(owner or {}), name: value}
    if at == ("kind",):  # a decision loss: each kind is a class of its own
        return owner.as_kind(value)
    # A given number of passes is exact: without least=1, small data would get more.
    return replace(owner, **{name: value}, **({"least": 1} if name == "epochs" else {}))


def current(model: Model, name: str, rct_rows: int, obs_rows: int = 0) -> dict[str, Value]:
    """Returns the hyper-parameters of an unfitted model, with the passes over the rows that it would make of so many rows."""
    return {key: _read(model, entry, rct_rows, obs_rows) for key, entry in SPACES.get(name, {}).items()}


def _read(model: Model, entry: Hyperparameter, rct_rows: int, obs_rows: int) -> Value:
    outer: Any = model
    owner: Any = model
    for name in entry.at[:-1]:
        outer, owner = owner, getattr(owner, name)
    last = entry.at[-1]
    if last == "epochs":
        # The model with the schedule also has `data`, its training rows; without it, they are those of the trial.
        data = getattr(outer, "data", "rct")
        return owner.passes((rct_rows if data != "obs" else 0) + (obs_rows if data != "rct" else 0))
    value: Value | None = (owner or {}).get(last) if isinstance(owner, dict | None) else getattr(owner, last, None)
    if value is None:  # not set, or chosen in the fit: a search begins at the default given here
        assert isinstance(entry, Number)
        assert entry.default is not None
        return entry.default
    return value
