"""The papers' baselines: the contract of every model, then each one's own idea."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from largesse import store
from largesse.errors import DataError
from largesse.logs import Logs
from largesse.models import (
    CFR,
    DRJT,
    IPS,
    LTD,
    MLP,
    AutoDebias,
    Calibrated,
    CausE,
    DragonNet,
    KDFeature,
    KDLabel,
    Model,
    Schedule,
)
from largesse.models.baselines.balanced import targeted
from largesse.models.baselines.base import Baseline, factual, in_units, mean, squared_errors, table, taken
from largesse.models.baselines.debiased import Debias, UpperLevel, debiased
from largesse.models.baselines.distilled import FeatureDistilledNet, squared_distance
from largesse.models.baselines.propensity import Assignment, propensities
from largesse.models.baselines.weighted import doubly_robust
from largesse.models.nets.balance import imbalance, mmd, wasserstein
from largesse.models.nets.minibatch import train
from largesse.models.nets.rows import Rows
from largesse.models.outcome import Outcome
from largesse.models.registry import AUTO, NAMES, TUNED, Settings, make
from largesse.policy.saved import model_state, restored
from tests.common.contract import (
    Spec,
    finds_no_effect_where_there_is_none,
    gives_a_menu_that_can_be_solved,
    keeps_the_contract,
)
from tests.common.worlds import orders

FAST = Schedule(epochs=1, least=36, batch=128, rate=1e-2)
FULL = Schedule(epochs=1, least=100, batch=128, rate=5e-3)
SMALL = {"hidden": (16, 8), "schedule": FAST}


def rows_of(t: torch.Tensor, y: torch.Tensor, share: torch.Tensor, weight: torch.Tensor) -> Rows:
    """Rows with outcomes y (N, 2): value and cost."""
    return Rows(treatment=t, value=y[:, 0], cost=y[:, 1], weight=weight, share=share)


def spec(name: str, both: bool, build: Callable[..., Model], **how: object) -> Spec:
    own = how if both else {"data": "rct", **how}
    return Spec(
        name, lambda: build(**own, **SMALL), worlds=("baskets",) if both else ("visits",), plain=True, both=both
    )


SPECS = (
    spec("ips", False, IPS),
    spec("dr-jt", False, DRJT),
    spec("cfr-wass", False, CFR),
    spec("cfr-mmd", False, CFR, distance="mmd"),
    spec("dragonnet", False, DragonNet),
    spec("cause", True, CausE),
    spec("kd-label", True, KDLabel),
    spec("kd-feature", True, KDFeature),
    spec("ltd-ips", True, LTD, loss="ips"),
    spec("ltd-dr", True, LTD),
    spec("autodebias", True, AutoDebias),
)
CASES = [pytest.param(s, world, id=f"{s.name}-{world}") for s in SPECS for world in s.worlds]
RESUMED = ("ips", "dr-jt", "cause", "kd-feature", "ltd-dr", "autodebias")  # one of each kind of state
EACH = pytest.mark.parametrize("spec", [pytest.param(s, id=s.name) for s in SPECS])


@pytest.fixture(scope="module")
def pair() -> tuple[Logs, Logs]:
    return orders(900, seed=1), orders(1100, seed=2, design="obs")


class TestContract:
    @pytest.mark.parametrize(("spec", "world"), CASES)
    def test_a_menu_that_can_be_solved_in_every_world(self, spec: Spec, world: str):
        gives_a_menu_that_can_be_solved(spec, world)

    @EACH
    def test_the_contract(self, spec: Spec):
        keeps_the_contract(spec)

    @EACH
    def test_no_effect_gives_about_none(self, spec: Spec):
        finds_no_effect_where_there_is_none(spec)

    @EACH
    def test_saved_and_loaded_it_predicts_the_same(self, spec: Spec, pair: tuple[Logs, Logs], tmp_path):
        model = spec.make().fit(*pair)
        settings, arrays = model_state(model)
        store.save(tmp_path / "model", "model", settings, arrays)
        saved = store.load(tmp_path / "model")
        again = restored(json.loads(json.dumps(saved.settings)), saved.arrays)
        before, after = model.predict(pair[0].x), again.predict(pair[0].x)
        np.testing.assert_array_equal(before.value, after.value)
        np.testing.assert_array_equal(before.cost, after.cost)

    @pytest.mark.parametrize("spec", [s for s in SPECS if s.name in RESUMED], ids=lambda s: s.name)
    def test_killed_and_started_again_it_ends_in_the_same(
        self, spec: Spec, pair: tuple[Logs, Logs], tmp_path, monkeypatch
    ):
        monkeypatch.setattr("largesse.models.nets.checkpoint._INTERVAL", 0.0)
        uninterrupted = spec.make().fit(*pair).predict(pair[0].x)

        class KilledError(Exception):
            pass

        def kill(step: int, steps: int, loss: float) -> None:
            if step == 10:
                raise KilledError

        model = spec.make().set_params(checkpoint=str(tmp_path))
        loop = "largesse.models.baselines.base.train"
        monkeypatch.setattr(loop, partial(train, on_step=kill))
        with pytest.raises(KilledError):
            model.fit(*pair)
        steps: list[int] = []
        monkeypatch.setattr(loop, partial(train, on_step=lambda step, *_: steps.append(step)))
        np.testing.assert_array_equal(uninterrupted.value, model.fit(*pair).predict(pair[0].x).value)
        assert steps[0] == 10, "it resumed, it did not start again"

    def test_all_parameters_are_known_to_scikit_learn(self):
        assert set(IPS().get_params()) == {
            "outcome", "data", "propensity", "clip", "hidden", "schedule", "dropout", "seed", "n_threads", "checkpoint",
        }  # fmt: skip
        with pytest.raises(TypeError, match="unexpected keyword"):
            IPS(widths=(3,))

    def test_none_is_a_candidate_unless_it_is_asked_for(self):
        automatic = {name for names in (*AUTO.values(), *TUNED.values()) for name in names}
        baselines = set(NAMES[NAMES.index("ips") :])
        assert not automatic & baselines
        assert baselines == {s.name for s in SPECS}

    def test_named_ones_take_the_settings_of_the_run(self, pair: tuple[Logs, Logs]):
        settings = Settings(
            outcome=Outcome.infer(pair[0]), epochs=3, seed=5, hyperparameters={"cfr-mmd": {"balance": 2.0}}
        )
        model = make("cfr-mmd", settings)
        assert (model.distance, model.balance, model.seed, model.schedule.epochs) == ("mmd", 2.0, 5, 3)
        assert make("ltd-ips", settings).loss == "ips"

    def test_a_baseline_can_be_recalibrated(self, pair: tuple[Logs, Logs]):
        model = Calibrated(IPS(**SMALL)).fit(*pair)
        assert model.predict(pair[0].x).n == pair[0].n


class TestRefusals:
    @pytest.mark.parametrize("build", [CausE, KDLabel, KDFeature, LTD, AutoDebias])
    def test_a_log_is_needed(self, build: Callable[..., Model], pair: tuple[Logs, Logs]):
        with pytest.raises(
            DataError, match=rf"obs == None: {build.__name__} needs a trial and past campaign data.*Pass obs"
        ):
            build(**SMALL).fit(pair[0])

    @pytest.mark.parametrize("build", [IPS, DRJT, CFR, DragonNet])
    def test_a_log_is_needed_by_default(self, build: Callable[..., Model], pair: tuple[Logs, Logs]):
        with pytest.raises(DataError, match="no observational log was given"):
            build(**SMALL).fit(pair[0])

    @pytest.mark.parametrize("build", [KDLabel, KDFeature, LTD, AutoDebias])
    def test_every_arm_needs_rows_of_the_log(self, build: Callable[..., Model], pair: tuple[Logs, Logs]):
        never = pair[1].take(np.flatnonzero(pair[1].treatment != 1))
        with pytest.raises(DataError, match=r"obs: rows of treatment '1' == 0: .* Drop the treatment"):
            build(**SMALL).fit(pair[0], never)
        assert CausE(**SMALL).fit(pair[0], never).predict(never.x).n_treatments == 3

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            (IPS(clip=0.0), r"clip == 0.0: must be a finite number in \[1e-09, 1\]"),
            (IPS(propensity="guessed"), "propensity == 'guessed': must be one of 'fitted', 'known'"),
            (IPS(propensity="known"), "the log has none.*Give logs.propensity"),
            (CFR(distance="energy"), "distance == 'energy'"),
            (CFR(balance=-1.0), "balance == -1.0"),
            (DragonNet(targeted=-1.0), "targeted == -1.0"),
            (CausE(penalty=-1.0), "penalty == -1.0"),
            (CausE(deployed="both"), "deployed == 'both'"),
            (KDLabel(distil=-1.0), "distil == -1.0"),
            (LTD(loss="mse"), "loss == 'mse'"),
            (LTD(step=0.0), "step == 0.0"),
            (AutoDebias(upper_rate=0.0), "upper_rate == 0.0"),
            (AutoDebias(imputation=-1.0), "imputation == -1.0"),
        ],
    )
    def test_values_out_of_range(self, model: Model, words: str, pair: tuple[Logs, Logs]):
        with pytest.raises(DataError, match=words):
            model.set_params(**SMALL).fit(*pair)


def confounded(n: int, seed: int, reveal: bool = False) -> tuple[Logs, Logs]:
    """A trial and a log in which those with a large x were treated; treated, a unit brings x², which no line fits."""
    rng = np.random.default_rng(seed)

    def rows(p: np.ndarray, design: str) -> Logs:
        x = rng.normal(size=(n, 1))
        chance = p if np.ndim(p) else 1 / (1 + np.exp(-1.5 * x[:, 0]))
        t = (rng.random(n) < chance).astype(int)
        known = np.where(t == 1, chance, 1 - chance) if reveal and design == "obs" else None
        value = t * x[:, 0] ** 2 + 0.1 * rng.normal(size=n)
        return Logs(x=x, treatment=t, value=value, cost=0.5 * t, design=design, propensity=known)

    return rows(np.full(n, 0.5), "rct"), rows(np.array(0.0), "obs")


LINES = {"hidden": (), "schedule": Schedule(epochs=1, least=120, rate=0.06, decay=0.0, batch=512)}


def number(tensor: torch.Tensor) -> float:
    return float(tensor.detach())


class TestWeighted:
    @pytest.mark.parametrize("propensity", ["fitted", "known"])
    def test_the_bias_of_a_log_is_removed_where_the_network_cannot_fit(self, propensity: str):
        rct, obs = confounded(4000, 0, reveal=propensity == "known")
        truth = (rct.x[:, 0] ** 2).mean()

        def off(model: Model) -> float:
            return abs(model.fit(rct, obs).predict(rct.x).value[:, 1].mean() - truth)

        assert off(MLP.published(data="obs", **LINES)) > 0.3
        assert off(IPS(propensity=propensity, **LINES)) < 0.12
        assert off(DRJT(propensity=propensity, **LINES)) < 0.12

    def test_the_loss_of_ips_as_transcribed(self, pair: tuple[Logs, Logs]):
        rct, obs = pair[0], replace(pair[1], weight=np.random.default_rng(0).uniform(1, 3, pair[1].n))
        training = training_of(IPS(**SMALL), rct, obs)
        rows = in_units(training.net, obs)
        weight = obs.weights / propensities(obs, "fitted", 0.01)
        each = squared_errors(table(training.net(rows.x)), rows).detach().numpy()
        assert number(training.loss(torch.arange(obs.n))) == pytest.approx(
            (weight * each).sum() / weight.sum(), rel=1e-4
        )

    def test_known_and_fitted_propensities_agree_and_are_clipped(self):
        _, obs = confounded(20_000, 1, reveal=True)
        known, fitted = (propensities(obs, kind, 1e-9) for kind in ("known", "fitted"))
        assert np.abs(known - fitted).max() < 0.05
        assert propensities(obs, "fitted", 0.2).min() == 0.2
        several = orders(20_000, 4, design="obs")
        share = Assignment.fitted(several)(torch.tensor(several.x)).mean(0).detach().numpy()
        np.testing.assert_allclose(share, several.arm_rows / several.n, atol=0.01)

    def test_an_arm_that_was_never_given_has_no_propensity(self):
        logs = orders(2000, 3, design="obs")
        never = logs.take(np.flatnonzero(logs.treatment != 1))
        assert number(Assignment.fitted(never)(torch.tensor(never.x))[:, 1].max()) < 1e-6

    def test_the_doubly_robust_loss_is_unbiased_whatever_is_imputed(self):
        draw = torch.Generator().manual_seed(0)
        predicted, truth, residual = (torch.randn(50, 2, 3, generator=draw) for _ in range(3))
        p = torch.rand(50, 3, generator=draw).softmax(1)
        ideal = ((predicted - truth) ** 2).sum(1).mean(1)
        expected = torch.zeros(50)
        for j in range(3):  # the mean over which treatment was taken
            t = torch.full((50,), j)
            rows = rows_of(t, truth[:, :, j], torch.ones(50), torch.ones(50))
            expected += p[:, j] * doubly_robust(predicted, residual, rows, 1 / p[:, j])
        torch.testing.assert_close(expected, ideal)
        # With the right residual no propensity is needed.
        rows = rows_of(t, truth[:, :, 2], torch.ones(50), torch.ones(50))
        torch.testing.assert_close(doubly_robust(predicted, truth - predicted, rows, torch.full((50,), 7.0)), ideal)

    def test_prediction_and_imputation_do_not_push_each_other(self, pair: tuple[Logs, Logs]):
        training = training_of(DRJT(**SMALL), *pair)
        i = torch.arange(200)
        training.loss(i).backward()
        both = {name: p.grad.clone() for name, p in training.module.named_parameters()}
        net, other = training.module["prediction"], training.module["imputation"]
        x, rows = torch.tensor(pair[1].x), in_units(net, pair[1])
        p = torch.tensor(propensities(pair[1], "fitted", 0.01), dtype=torch.float32)[i]
        predicted, residual, batch = table(net(x[i])).detach(), table(other(x[i])), rows.take(i)
        off = (
            ((taken(residual, batch.treatment) - (batch.outcomes - taken(predicted, batch.treatment))) ** 2).sum(1) / p
        ).mean() / 3
        slopes = torch.autograd.grad(off, list(other.parameters()))
        for (name, _), slope in zip(other.named_parameters(), slopes, strict=True):
            torch.testing.assert_close(both[f"imputation.{name}"], slope, rtol=1e-4, atol=1e-6)


def training_of(model: Baseline, rct: Logs, obs: Logs):
    """Returns the training problem of a model on these rows."""
    model.treatments_, model.features_ = rct.treatments, rct.features
    model.outcome_ = Outcome(family="gaussian", cost_rule="learned")
    return model._training(rct, obs)


class TestRepresentation:
    def test_distances_are_zero_for_the_same_rows_and_positive_else(self):
        a = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        assert float(mmd(a, a)) == pytest.approx(0, abs=1e-6)
        assert float(mmd(a, a + 0.5)) > 0.01
        assert float(wasserstein(a, a)) < 0.05 * float(wasserstein(a, a + 2))
        h, t = torch.cat([a, a, a + 1]), torch.arange(3).repeat_interleave(60)
        for distance in ("mmd", "wasserstein"):
            alone = imbalance(h[:120], t[:120], 2, distance)
            assert float(imbalance(h, t, 3, distance)) > 4 * abs(float(alone))
            smaller = imbalance(0.1 * h, t, 3, distance)
            torch.testing.assert_close(smaller, imbalance(h, t, 3, distance), rtol=1e-4, atol=1e-6)

    def test_mmd_as_transcribed(self):
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.4

        def kernel(u: np.ndarray, v: np.ndarray) -> float:
            return float(np.mean([[np.exp(-np.sum((p - q) ** 2)) for q in v] for p in u]))

        expected = kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
        assert float(mmd(torch.tensor(a), torch.tensor(b))) == pytest.approx(expected, rel=1e-9)

    def test_wasserstein_as_transcribed_and_near_the_exact_one(self):
        rng = np.random.default_rng(1)
        a, b = rng.normal(size=(30, 2)), rng.normal(size=(30, 2)) + 1.5
        distance = np.linalg.norm(a[:, None] - b[None], axis=2)
        kernel = np.exp(-10 * distance / distance.mean()) + 1e-6
        u = np.full(30, 1 / 30)
        for _ in range(10):
            v = (1 / 30) / (kernel.T @ u)
            u = (1 / 30) / (kernel @ v)
        v = (1 / 30) / (kernel.T @ u)
        expected = float((u[:, None] * kernel * v * distance).sum())
        transport = float(wasserstein(torch.tensor(a), torch.tensor(b)))
        assert transport == pytest.approx(expected, rel=1e-9)
        exact = distance[linear_sum_assignment(distance)].mean()
        assert exact * 0.99 < transport < exact * 1.15

    @pytest.mark.parametrize("distance", ["mmd", "wasserstein"])
    def test_a_heavier_weight_makes_the_arms_more_alike(self, distance: str, pair: tuple[Logs, Logs]):
        distances = []
        for balance in (0.0, 3.0):
            model = CFR(distance=distance, balance=balance, **SMALL).fit(*pair)
            h = model.net_.represent(torch.tensor(pair[1].x)).detach()
            distances.append(float(imbalance(h, torch.tensor(pair[1].treatment).long(), 3, distance)))
        assert distances[1] < 0.5 * distances[0]

    def test_without_its_distance_it_is_the_two_stage_network(self, pair: tuple[Logs, Logs]):
        plain = MLP.published(data="obs", **SMALL).fit(*pair).predict(pair[0].x)
        unbalanced = CFR(balance=0.0, **SMALL).fit(*pair).predict(pair[0].x)
        np.testing.assert_allclose(unbalanced.value, plain.value, atol=1e-5)

    def test_the_targeted_term_is_the_papers_for_one_treatment(self):
        rng = np.random.default_rng(0)
        q, y, g = rng.normal(size=(40, 2, 2)), rng.normal(size=(40, 2)), rng.uniform(0.1, 0.9, 40)
        t, epsilon = rng.integers(0, 2, 40), np.array([0.3, -0.2])
        read = (g + 0.01) / 1.02
        h = t / read - (1 - t) / (1 - read)
        expected = sum((y[:, k] - (q[np.arange(40), k, t] + epsilon[k] * h)) ** 2 for k in range(2))
        one = torch.ones(40)
        rows = rows_of(torch.tensor(t), torch.tensor(y), one, one)
        two = torch.tensor(np.column_stack([1 - g, g]))
        errors = targeted(torch.tensor(q), two, torch.tensor(epsilon)[:, None], rows)
        np.testing.assert_allclose(errors.numpy(), expected, rtol=1e-9)

    def test_the_targeted_term_centres_the_weighted_residuals(self):
        # At the best ε: mean_i residual · (1[t=j]/g_j - 1[t=0]/g_0) = 0 for every treated arm.
        rng = np.random.default_rng(0)
        t = torch.tensor(rng.integers(0, 3, 400))
        y, q = (torch.tensor(rng.normal(size=size)) for size in ((400, 2), (400, 2, 3)))
        g = torch.tensor(rng.uniform(0.2, 1, (400, 3))).softmax(1)
        rows = rows_of(t, y, torch.ones(400), torch.ones(400))
        epsilon = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
        best = torch.optim.LBFGS([epsilon], max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

        def closure() -> torch.Tensor:
            best.zero_grad()
            loss = targeted(q, g, epsilon, rows).mean()
            loss.backward()
            return loss

        best.step(closure)
        read = (g + 0.01) / 1.03
        h = torch.stack([(t == j) / read[:, j] - 1.0 * (t == 0) / read[:, 0] for j in (1, 2)], 1)  # (N, 2)
        residual = y - (taken(q, t) + h @ epsilon.detach().T)
        assert float((residual.T @ h / 400).abs().max()) < 1e-6

    def test_the_representation_of_a_dragon_predicts_the_propensity(self, pair: tuple[Logs, Logs]):
        training = training_of(DragonNet(**SMALL), *pair)
        train(training.module, training.loss, training.rows, FULL, 0)
        x = torch.tensor(pair[1].x)
        score = training.module.score(training.net.represent(x)).softmax(1).detach().numpy()
        fitted = Assignment.fitted(pair[1])(x).detach().numpy()
        assert np.corrcoef(score[:, 2], fitted[:, 2])[0, 1] > 0.7
        assert training.module.epsilon.abs().sum() > 0


class TestDistilled:
    def test_an_endless_penalty_is_one_network_on_both(self, pair: tuple[Logs, Logs]):
        plain = MLP.published(**SMALL).fit(*pair).predict(pair[0].x)
        one = CausE(penalty=None, **SMALL).fit(*pair).predict(pair[0].x)
        np.testing.assert_allclose(one.value, plain.value, atol=1e-5)
        np.testing.assert_allclose(one.cost, plain.cost, atol=1e-5)

    def test_without_a_penalty_the_networks_are_separate(self, pair: tuple[Logs, Logs]):
        rct, obs = pair
        other = replace(obs, value=np.random.default_rng(0).permutation(obs.value))  # on the same scale
        moved = []
        for penalty in (0.0, 1.0):
            a, b = (CausE(penalty=penalty, **SMALL).fit(rct, log).predict(rct.x).value for log in (obs, other))
            moved.append(np.abs(a - b).max())
        assert moved[0] < 1e-6 < 0.01 < moved[1]

    def test_the_heavier_the_penalty_the_nearer_the_networks(self, pair: tuple[Logs, Logs]):
        distances = []
        for penalty in (0.0, 0.1, 10.0):
            training = training_of(CausE(penalty=penalty, **SMALL), *pair)
            train(training.module, training.loss, training.rows, FAST, 0)
            distances.append(number(squared_distance(training.module["trial"], training.module["log"])))
        assert distances[0] > 3 * distances[1] > 9 * distances[2] > 0

    def test_the_loss_of_cause_as_transcribed(self, pair: tuple[Logs, Logs]):
        training = training_of(CausE(penalty=0.5, **SMALL), *pair)
        trial, log = training.module["trial"], training.module["log"]
        with torch.no_grad():
            log.value.bias += 0.1  # three treatments: ‖θ_trial - θ_log‖² = .03
        pooled = pair[0] | pair[1]
        rows, i = in_units(trial, pooled), torch.tensor([3, 5, 1000, 1500, 950])
        each = [
            squared_errors(table((trial if k < 900 else log)(rows.x[k : k + 1])), rows.take(torch.tensor([k])))[0]
            for k in i
        ]
        expected = (rows.weight[i] * torch.stack(each)).sum() / rows.weight[i].sum() + 0.5 * 0.03
        assert number(training.loss(i)) == pytest.approx(number(expected), rel=1e-5)

    def test_the_label_penalty_as_transcribed(self, pair: tuple[Logs, Logs]):
        rct, obs = pair
        trainings = [training_of(KDLabel(distil=distil, **SMALL), rct, obs) for distil in (0.0, 2.0)]
        i = torch.tensor([0, 7, 500])
        teacher = (
            MLP.published(data="rct", seed=KDLabel()._seed(2), **SMALL).fit(rct).predict_response(obs.x[i.numpy()])
        )
        net = trainings[1].net
        value, _, cost = (
            None if q is None else q.detach().numpy() for q in net.predict_response(torch.tensor(obs.x[i.numpy()]))
        )
        gap = ((value - teacher.value) / net.value_scale) ** 2 + ((cost - teacher.cost) / net.cost_scale) ** 2
        extra = number(trainings[1].loss(i) - trainings[0].loss(i))
        assert extra == pytest.approx(2.0 * gap.mean(), rel=1e-4)

    def test_a_heavy_label_penalty_gives_the_teacher(self, pair: tuple[Logs, Logs]):
        rct, obs = pair
        full = {"hidden": (16, 8), "schedule": FULL}
        teacher = MLP.published(data="rct", seed=KDLabel()._seed(2), **full).fit(rct).predict(obs.x).value
        near, far = (KDLabel(distil=d, **full).fit(rct, obs).predict(obs.x).value for d in (30.0, 0.0))
        assert np.abs(near - teacher).mean() < 0.5 * np.abs(far - teacher).mean()

    def test_the_teacher_of_the_features_is_read_and_stays_as_it_was(self, pair: tuple[Logs, Logs]):
        rct, obs = pair
        model = KDFeature(**SMALL).fit(rct, obs)
        net = model.net_
        assert isinstance(net, FeatureDistilledNet)
        teacher = MLP.published(data="rct", seed=model._seed(2), **SMALL).fit(rct).nets_[0]
        for name, weight in teacher.state_dict().items():
            torch.testing.assert_close(net.teacher.state_dict()[name], weight, rtol=0, atol=1e-6)
        before = model.predict(rct.x).value
        with torch.no_grad():
            net.value.weight[:, net.value.in_features // 2 :] = 0
        assert np.abs(model.predict(rct.x).value - before).max() > 0.01


class TestBilevel:
    @pytest.mark.parametrize("loss", ["ips", "dr"])
    def test_the_lower_level_of_ltd_as_transcribed(self, loss: str):
        draw = torch.Generator().manual_seed(0)
        predicted, residual = (torch.randn(30, 2, 3, generator=draw, dtype=torch.float64) for _ in range(2))
        y, t = torch.randn(30, 2, generator=draw, dtype=torch.float64), torch.randint(3, (30,), generator=draw)
        weight = torch.rand(30, generator=draw, dtype=torch.float64)
        rows = rows_of(t, y, torch.ones(30, dtype=torch.float64), weight)
        e = np.array([((predicted[i, :, t[i]] - y[i]) ** 2).sum() for i in range(30)])
        w = weight.numpy()
        if loss == "ips":
            expected, given = (w * e).sum() / w.sum(), None
        else:
            each = (residual**2).sum(1).numpy()  # (N, M)
            own = each[np.arange(30), t.numpy()]
            expected, given = each.mean() + (w * (e - own)).sum() / w.sum(), residual
        assert float(debiased(predicted, given, rows, weight)) == pytest.approx(expected, rel=1e-9)

    def test_the_upper_level_of_autodebias_starts_at_the_plain_loss(self, pair: tuple[Logs, Logs]):
        rct, obs = pair
        training = training_of(AutoDebias(imputation=0.0, **SMALL), rct, obs)
        rows = in_units(training.net, obs)
        phi = Debias(training.net, in_units(training.net, rct))
        w, v, m = phi(training.net.standardise(rows.x), rows)
        assert number((w - 1).abs().max()) == number((v - 1).abs().max()) == 0
        torch.testing.assert_close(taken(m, rows.treatment), rows.outcomes)
        untaken = m[rows.treatment != 2][:, 0, 2] * training.net.value_scale
        mean = rct.value[rct.treatment == 2].mean()
        np.testing.assert_allclose(untaken.detach().numpy(), mean, rtol=1e-4)
        assert isinstance(training.memory, UpperLevel)
        for group in training.memory.optimiser.param_groups:
            group["lr"] = 0.0
        i = torch.arange(300)
        assert number(training.loss(i)) == pytest.approx(
            number(factual(table(training.net(rows.x[i])), rows.take(i))), rel=1e-6
        )

    def test_rows_that_the_trial_contradicts_lose_weight(self):
        rct, obs = orders(3000, 2, seed=1), orders(3000, 2, seed=2)
        wrong = obs.x[:, 3] > 0.5  # for these the log is upside down
        tilted = replace(obs, value=np.where(wrong, 1 - obs.value, obs.value), propensity="observed")
        model = AutoDebias(upper_rate=0.06, hidden=(16, 8), schedule=Schedule(epochs=1, least=150, batch=512))
        training = training_of(model, rct, tilted)
        train(training.module, training.loss, training.rows, model.schedule, 0)
        rows = in_units(training.net, tilted)
        weight = training.memory.phi(training.net.standardise(rows.x), rows)[0].detach().numpy()
        assert weight[wrong].mean() < 0.8 * weight[~wrong].mean()

    def test_propensities_of_ltd_leave_those_of_greatest_likelihood(self, pair: tuple[Logs, Logs]):
        model = LTD(loss="ips", upper_rate=0.03, **SMALL)
        training = training_of(model, *pair)
        x = torch.tensor(pair[1].x)
        before = training.memory.phi(x).detach()
        torch.testing.assert_close(before, Assignment.fitted(pair[1], model._seed(3))(x).detach())
        train(training.module, training.loss, training.rows, FAST, 0)
        assert number((training.memory.phi(x) - before).abs().max()) > 0.05

    def test_propensities_of_ltd_are_clipped(self, pair: tuple[Logs, Logs]):
        training = training_of(LTD(loss="ips", clip=0.3, upper_rate=1e-12, **SMALL), *pair)
        rows, i = in_units(training.net, pair[1]), torch.arange(300)
        batch = rows.take(i)
        p = training.memory.phi(batch.features).gather(1, batch.treatment[:, None])[:, 0]
        assert number(p.min()) < 0.2
        wanted = mean(1 / p.clamp(0.3), squared_errors(table(training.net(batch.features)), batch))
        assert number(training.loss(i)) == pytest.approx(number(wanted), rel=1e-5)

    def test_the_pseudo_labels_of_autodebias_as_transcribed(self, pair: tuple[Logs, Logs]):
        rct, obs = pair
        trainings = [training_of(AutoDebias(imputation=k, upper_rate=1e-12, **SMALL), rct, obs) for k in (0.0, 2.0)]
        net, i = trainings[1].net, torch.arange(300)
        scales, t = np.array([net.value_scale, net.cost_scale]), obs.treatment[:300]
        label = np.empty((300, 2, 3))
        for j in range(3):  # the trial's means, but for the arm that was taken
            label[:, :, j] = np.array([a[rct.treatment == j].mean() for a in (rct.value, rct.cost)]) / scales
        label[np.arange(300), :, t] = np.column_stack([obs.value, obs.cost])[:300] / scales
        predicted = table(net(torch.tensor(obs.x[:300]))).detach().numpy()
        extra = number(trainings[1].loss(i)) - number(trainings[0].loss(i))
        assert extra == pytest.approx(2.0 * ((predicted - label) ** 2).sum(1).mean(), rel=1e-4)

    def test_the_trial_reaches_the_network_through_the_weights_only(self, pair: tuple[Logs, Logs]):
        rct, obs = pair
        upside_down = replace(rct, value=1 - rct.value, propensity="observed")
        changes = []
        for rate in (1e-12, 0.05):
            model = LTD(loss="ips", upper_rate=rate, **SMALL)
            a, b = (model.fit(trial, obs).predict(obs.x).value for trial in (rct, upside_down))
            changes.append(np.abs(a - b).max())
        assert changes[0] < 1e-4 < 0.01 < changes[1]
