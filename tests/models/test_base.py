"""Parameters of the models: fields of a dataclass that scikit-learn can read, copy and print."""

from __future__ import annotations

import copy
import pickle
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, signature

import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge

from largesse import models
from largesse.models import HRC, MLP, Boosting, Calibrated, Model, Outcome, Regressors, Schedule, Stack
from largesse.models.registry import NAMES, Settings, make
from tests.common.worlds import orders

KINDS = [
    kind
    for name in models.__all__
    if isinstance(kind := getattr(models, name), type) and issubclass(kind, Model) and kind is not Model
]
NEEDED: dict[type[Model], object] = {Regressors: Ridge(), Stack: (Boosting(rounds=5), MLP(members=1))}
POSITIONAL = {"BiDFCL", "Calibrated", "Corrected", "DFCL", "HRC", "Regressors", "Stack", "DecisionResidual", "Student"}
LONGEST = 25  # lines of a model's text
OUTCOME = Outcome(family="zero_inflated_lognormal", cost_rule="per_redemption", amounts=(0.0, 1.0, 2.5))


def made(kind: type[Model]) -> Model:
    """Returns a model with nothing given but what must be."""
    needed = [f.name for f in fields(kind) if f.default is MISSING]
    return kind(**{name: NEEDED.get(kind, MLP(members=1)) for name in needed})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
class TestParameters:
    def test_are_the_fields_of_a_dataclass_whose_constructor_nobody_wrote(self, kind: type[Model]):
        assert is_dataclass(kind)
        assert kind.__init__.__code__.co_filename == "<string>"
        assert {f.name for f in fields(kind)} == set(made(kind).get_params(deep=False))
        kinds = [p.kind for p in signature(kind).parameters.values()]
        first = Parameter.POSITIONAL_OR_KEYWORD if kind.__name__ in POSITIONAL else Parameter.KEYWORD_ONLY
        assert kinds[0] is first
        assert set(kinds[1:]) == {Parameter.KEYWORD_ONLY}
        with pytest.raises(TypeError, match="unexpected keyword argument 'rouds'"):
            kind(rouds=5)

    def test_are_stored_as_they_are_and_survive_every_copy(self, kind: type[Model]):
        model = made(kind)
        given = model.get_params(deep=False)
        again = kind(**given)
        assert all(again.get_params(deep=False)[name] is value for name, value in given.items())
        for other in (clone(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert type(other) is kind
            assert repr(other.get_params()) == repr(model.get_params())
            assert other != model, "models are equal only to themselves"
            assert len({other, model}) == 2
        changed = model.set_params(**dict.fromkeys(given))
        assert changed is model
        assert set(changed.get_params(deep=False).values()) == {None}

    def test_print_as_scikit_learn_prints_them(self, kind: type[Model]):
        model = made(kind)
        inside = ", ".join(f"{f.name}={getattr(model, f.name)!r}" for f in fields(kind) if f.default is MISSING)
        assert " ".join(repr(model).split()) == " ".join(f"{kind.__name__}({inside})".split())


class TestPrinted:
    SETTINGS = Settings(outcome=OUTCOME, epochs=3, checkpoint="/mnt/a/folder/of/some/depth", budgets=(0.1, 0.2, 0.3))

    @pytest.mark.parametrize("name", NAMES)
    def test_every_named_model_is_short(self, name: str):
        text = repr(make(name, self.SETTINGS))
        assert 1 < len(text.splitlines()) <= LONGEST
        assert max(map(len, text.splitlines())) <= 100

    @pytest.mark.parametrize("name", ["lightgbm", "mlp", "logs-then-correction", "stack-rct", "dfcl", "hrc", "ips"])
    def test_what_was_learned_is_not_printed(self, name: str):
        logs = orders(600)
        model = make(name, Settings(outcome=Outcome.infer(logs), members=1, epochs=1, seed=3))
        before = repr(model)
        assert repr(model.fit(logs, logs)) == before
        assert len(before.splitlines()) <= LONGEST

    def test_only_what_was_changed(self):
        assert repr(Boosting(rounds=5)) == "Boosting(rounds=5)"
        assert repr(Calibrated(Boosting(params={"max_bin": 7}))) == "Calibrated(base=Boosting(params={'max_bin': 7}))"
        assert repr(HRC()) == str(HRC()) == "HRC()"

    def test_the_middle_of_a_long_text_is_left_out(self):
        model: Model = MLP(outcome=OUTCOME, schedule=Schedule(epochs=7))
        for seed in range(1, 40):
            model = Calibrated(model, outcome=OUTCOME, seed=seed)
        assert len(repr(model).splitlines()) <= LONGEST
        assert repr(model).startswith("Calibrated(base=Calibrated(")
        assert "..." in repr(model)
        assert repr(model).endswith("seed=39)")
