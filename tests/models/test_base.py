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
from largesse.models import MLP, Boosting, Model, Regressors, Stack

KINDS = [
    kind
    for name in models.__all__
    if isinstance(kind := getattr(models, name), type) and issubclass(kind, Model) and kind is not Model
]
NEEDED: dict[type[Model], object] = {Regressors: Ridge(), Stack: (Boosting(rounds=5), MLP(members=1))}
POSITIONAL = {"BiDFCL", "Calibrated", "Corrected", "DFCL", "HRC", "Regressors", "Stack", "Steered", "Student"}


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
