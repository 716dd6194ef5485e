"""A file becomes a Config, or an error with field, value, rule and meaning; the template has every field."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from largesse.config import Config, dump, load, parse, template
from largesse.config.rules import RulesFile
from largesse.config.schema import sections
from largesse.errors import ConfigError
from largesse.roles import Roles

DATA = 'data = {rct = "trial.parquet"}\n'
BASE = DATA + 'columns = {treatment = "arm", value = "orders", cost = "spent"}\n'
FULL = """
[data]
rct = "trial.parquet"
obs = "../past.csv"
test = "/data/test.parquet"
test_share = 0.25
[columns]
treatment = "arm"
value = "orders"
propensity = "p"
unit = "id"
features = ["age", "city"]
ignore = ["name"]
treatments = [0, 5.0, "ten \\"off\\" \\u007f\\n"]
[design]
rct_propensity = {"0" = 0.5, "5" = 0.25, "ten \\"off\\" \\u007f\\n" = 0.25}
obs_propensity_column = "q"
control_cost = true
[outcome]
value = "poisson"
cost = "per_redemption"
amounts = {"5" = 5, "ten \\"off\\" \\u007f\\n" = 1e-7}
ordered = true
[model]
candidates = ["boosting", "network"]
epochs = 3
settings.network = {rate = 1e-3, hidden = [64, 32], kind = "ppl", rounds = 5}
[budget]
per_unit = [0.5, 1]
shares = []
[run]
seed = 7
folder = "out/runs"
"""


def test_defaults(tmp_path):
    (tmp_path / "campaign.toml").write_text(BASE)
    config = load(tmp_path / "campaign.toml")
    assert config.data.rct == tmp_path / "trial.parquet"
    assert (config.data.obs, config.data.test, config.data.test_share, config.data.validation_share) == (
        None,
        None,
        0.3,
        0.2,
    )
    assert config.design.rct_propensity == "observed"
    assert (config.outcome.value, config.outcome.cost, config.outcome.amounts, config.outcome.ordered) == (
        "auto",
        "auto",
        {},
        "auto",
    )
    assert (config.model.candidates, config.model.epochs, config.model.members) == ("auto", None, 3)
    assert (config.budget.shares, config.budget.per_unit, config.budget.safety) == ((0.1, 0.25, 0.5, 0.75), (), 0.95)
    assert (config.run.seed, config.run.threads, config.run.draws) == (0, None, 400)
    assert config.run.folder == tmp_path / "runs"
    assert config.roles() == config.roles("obs") == Roles(treatment="arm", value="orders", cost="spent")


def test_paths_count_from_the_folder_of_the_file(monkeypatch, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c.toml").write_text(FULL)
    monkeypatch.chdir(tmp_path)
    config = load("a/c.toml")
    assert config.data.rct == tmp_path / "a" / "trial.parquet"
    assert config.data.obs == tmp_path / "a" / "../past.csv"
    assert config.data.test == Path("/data/test.parquet")
    assert config.run.folder == tmp_path / "a" / "out/runs"


def test_roles_of_the_two_kinds_of_rows():
    config = parse(FULL)
    rct, obs = config.roles(), config.roles("obs")
    assert rct.treatments == ("0", "5", 'ten "off" \x7f'), "blanks around a label do not count"
    assert (rct.propensity, rct.ignore) == ("p", ("name", "q"))
    assert (obs.propensity, obs.ignore) == ("q", ("name", "p"))
    assert rct.features == ("age", "city")
    assert rct.cost is None


@pytest.mark.parametrize("text", [BASE, FULL, template()])
def test_dump_and_parse_give_the_same(text):
    config = parse(text, folder="/somewhere")
    again = parse(dump(config), folder="/elsewhere")
    assert again == config
    assert dump(again) == dump(config)


LABELS = st.text(min_size=1).filter(lambda text: bool(text.strip()))  # blanks around a label do not count


@given(LABELS, st.floats(1e-300, 1e15), st.lists(st.text(min_size=1), unique=True, max_size=3))
@settings(max_examples=100, deadline=None)
def test_dump_keeps_any_text_and_number(text, number, names):
    raw = {"data": {"rct": "x"}, "columns": {"treatment": "t", "value": "v", "cost": "c"}}
    raw |= {
        "outcome": {"amounts": {text: number}},
        "budget": {"per_unit": [number]},
        "model": {"candidates": [text, *names]},
    }
    config = Config.model_validate(raw)
    assert list(config.outcome.amounts) == [text.strip()]
    assert parse(dump(config)) == config


def test_the_template_has_every_field():
    text = template("my rows.csv")
    config = parse(text, folder="/f")
    assert config.data.rct == Path("/f/my rows.csv")
    bare = parse(
        'data = {rct = "my rows.csv"}\ncolumns = {treatment = "treatment", value = "value", cost = "cost"}', folder="/f"
    )
    assert config == bare
    # Uncommented, the optional fields are valid too.
    raw = tomllib.loads(re.sub(r"(?m)^# (\w+ = )", r"\1", text))
    fields = {name: set(model.model_fields) for name, model in sections().items()}
    assert {name: set(given) for name, given in raw.items()} == fields
    Config.model_validate(raw)
    for model in sections().values():
        for name, field in model.model_fields.items():
            assert field.description, name
            assert f"# {field.description}" in text
        assert model.__doc__ in text.replace("\n# ", "\n")


REFUSED = [
    ("[budget]\nsafety = 1.5", r"^c: budget\.safety == 1\.5: must be < 1. Meaning: probability that"),
    ("[budget]\nsafety = nan", r"budget\.safety == nan: must be finite"),
    ("[budget]\nsafety = true", r"budget\.safety == True: must be a number"),
    ("[budget]\nsafty = 1", r"budget\.safty == 1: unknown key\. Did you mean 'safety'\? The keys of \[budget\] are "),
    ("[budget]\nshares = [0.1, 2]", r"budget\.shares\[1\] == 2: must be <= 1"),
    ("[budget]\nshares = [0.5, 0.2]", r"budget\.shares == \[0\.5, 0\.2\]: numbers must increase"),
    ("[budget]\nshares = []", r"budget\.shares and per_unit are both empty: name at least one"),
    ("[budget]\nshares = 0.1", r"budget\.shares == 0\.1: must be a list"),
    ("[buget]\nshares = []", r"buget == .*: unknown key\. Did you mean 'budget'\? The sections are data, columns"),
    ("[run]\nseed = '0'\nthreads = 0",
     r"^c: 2 fields break a rule:\n  run\.seed == '0': must be a whole .*\n  run\.threads == 0: must be >= 1"),
    ("[run]\ntest = 1", r"run\.test == 1: unknown key\. It belongs in \[data\]\."),
    ("[run]\nfolder = ' '", r"run\.folder == ' ': must be a path"),
    ("[run]\ndraws = 2", r"run\.draws == 2: must be >= 20\. Meaning: bootstrap"),
    ("[design]\nrct_propensity = 'x'", r"design\.rct_propensity == 'x': must be 'observed' or 'uniform', or must be a"),
    ("[design]\nrct_propensity = {a = 0.5, b = 2}", r"design\.rct_propensity == .*: shares must sum to 1, these sum to 2.5"),
    ("[design]\nrct_propensity = {a = 0.5, b = 0.4}", r"design\.rct_propensity == .*: shares must sum to 1, these"),
    ("[design]\ncontrol_cost = 1", r"design\.control_cost == 1: must be true or false"),
    ("[design]\nobs_propensity_column = 'arm'", r"propensity == 'arm': the column is already the treatment"),
    ("[model]\ncandidates = []", r"model\.candidates == \[\]: must be 'auto', or must have 1 or more items, not 0"),
    ("[model]\ncandidates = ['a', 1]", r"model\.candidates\[1\] == 1: must be text"),
    ("[model]\nsettings = {mlp = 3}", r"model\.settings\.mlp == 3: must be a table"),
    ("[model]\nsettings.mlp.rate = true", r"model\.settings\.mlp\.rate == True: must be "),
    ("[outcome]\ncost = 'free'", r"outcome\.cost == 'free': must be 'auto' or 'learned', or must be 'per_contact'"),
    ("[outcome]\ncost = 'per_contact'", r"outcome\.amounts is missing: the rule 'per_contact' needs the amount"),
    ("[outcome]\ncost = 'learned'\namounts = {a = 1}", r"outcome\.amounts has no use with cost == 'learned'"),
    ("[outcome]\namounts = {a = -1}", r"outcome\.amounts\.a == -1: must be >= 0"),
    ("[outcome]\nordered = 'yes'", r"outcome\.ordered == 'yes': must be 'auto', or must be true or false"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wording"), REFUSED, ids=[text for text, _ in REFUSED])
def test_refusals(text, wording):
    with pytest.raises(ConfigError, match=wording):
        parse(BASE + text, name="c")


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        (
            "",
            r"^c: 3 fields break a rule:\n  data\.rct is missing: it is required\. Meaning: .* Add it to \[data\]",
        ),
        ("seed = 1\n" + BASE, r"^c: seed == 1: unknown key\. It belongs in \[run\]\. The sections are"),
        ("run = 3\n" + BASE, r"^c: run == 3: must be a table\.$"),
        ("data = [", r"^c: is not TOML \(.*at end of document.*Write text in quotes"),
        (
            DATA + 'columns = {treatment = "a", value = "v"}',
            r"^c: columns\.cost is missing: outcome\.cost == 'auto' needs",
        ),
        (
            DATA + 'columns = {treatment = "a", value = "a"}',
            r"columns\.value == 'a': the column is already the treatment",
        ),
        (
            DATA + 'columns = {treatment = "a", value = "v", features = ["v"]}',
            r"columns\.features == 'v': is the value column",
        ),
        (
            DATA + 'columns = {treatment = "a", value = "v", treatments = ["0"]}',
            r"columns\.treatments == .*at least two",
        ),
        (FULL.replace('"5" = 5,', '"6" = 5,'), r"^c: outcome\.amounts: '6' is not among columns\.treatments"),
        (FULL.replace('"5" = 5,', ""), r"^c: outcome\.amounts: has no number for '5' \(1 such treatments\)"),
        (FULL.replace('"0" = 0.5, "5" = 0.25', '"5" = 0.75'), r"^c: design\.rct_propensity: has no number for '0'"),
    ],
)
def test_refusals_of_whole_sections(text, wording):
    with pytest.raises(ConfigError, match=wording):
        parse(text, name="c")


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read .*start from a template"):
            load(path)
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    with pytest.raises(ConfigError, match=r"latin\.toml: cannot be read"):
        load(tmp_path / "latin.toml")


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3),
              st.sampled_from(["auto", "learned", "arm"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=4,
)  # fmt: skip
PLACES = st.sampled_from(
    [(name, field) for name, model in sections().items() for field in (*model.model_fields, "other", "")]
)


def literal(value) -> str:
    """TOML of a value without None."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)} = {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    return "0" if value is None else str(value).lower()


@given(st.dictionaries(PLACES, VALUES, min_size=1, max_size=3))
@example({("design", "obs_propensity_column"): "arm"})
@settings(max_examples=300, deadline=None)
def test_any_toml_is_a_config_or_a_refusal_that_names_the_field(accidents):
    raw = {"data": {"rct": "x"}, "columns": {"treatment": "arm", "value": "v", "cost": "c"}}
    for (section, field), value in accidents.items():
        raw.setdefault(section, {})[field] = value
    text = "\n".join(
        f"[{s}]\n" + "\n".join(f"{literal(f)} = {literal(v)}" for f, v in body.items()) for s, body in raw.items()
    )
    try:
        config = parse(text)
    except ConfigError as refusal:
        message = str(refusal)
    else:
        message = ""
        assert parse(dump(config)) == config
    assert not message or any(section in message or field in message for section, field in accidents)


HOSTILE = {
    "lists": "a = " + "[" * 20_000 + "]" * 20_000,
    "tables": "a = " + "{a = " * 500 + "1" + "}" * 500,
    "dotted": ".".join("a" * 5_000) + " = 1",
    "digits": "a = " + "9" * 6_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("reader", [load, RulesFile.load], ids=["campaign", "rules"])
def test_texts_that_would_exhaust_the_parser_are_refused(name, reader, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(HOSTILE[name])
    with pytest.raises(
        ConfigError, match=r"c\.toml: is not TOML \((lists or tables are nested too deeply|Exceeds the limit)"
    ):
        reader(path)


@pytest.mark.parametrize("reader", [load, RulesFile.load], ids=["campaign", "rules"])
def test_only_a_file_is_a_configuration(reader, tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    os.symlink("loop.toml", tmp_path / "loop.toml")
    os.symlink("/dev/zero", tmp_path / "device.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 24) + b"#")
    for name in ("pipe.toml", "loop.toml", "device.toml", "large.toml", "x" * 300, "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            reader(tmp_path / name)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(template("trial.csv"), encoding="utf-8-sig")
    assert load(path) == parse(template("trial.csv"), folder=tmp_path)


def test_a_rules_file_is_refused_with_every_field_that_violates_a_rule(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text('treatments = ["a"]\nspent = 3\nspend = [{at_most = "much"}]')
    with pytest.raises(ConfigError, match=r"treatments == \['a'\]: must have 2 or more items, not 1; ") as refusal:
        RulesFile.load(path)
    assert "spend.0.at_most.float == 'much': must be a number; " in str(refusal.value)
    assert "spent == 3: unknown field. The fields are in" in str(refusal.value)


RULES_TEXT = """
treatments = ["none", "5 %"]
eligible = "may_{}"
keep = "kept"
spend = [{at_most = 100000}, {by = "city", at_most = {"north \\"x\\"" = 2000, south = 0.1}}]
count = [{treatment = "5 %", at_most = 5000}, {treatment = ["none", "5 %"], by = "city", at_least = 50}]
use = [{name = "contacts", amount = {"5 %" = 1}, at_most = 40000}]
return = [{at_least = 1.2}]
not_for = [{treatment = "5 %", column = "city", values = ["Saint-Étienne", "a;b"]}]
"""


def test_rules_are_written_as_they_are_read():
    rules = RulesFile.parse(RULES_TEXT)
    assert RulesFile.parse(rules.dump()) == rules
    assert rules.not_for[0].treatments == ("5 %",)
    assert rules.text == ("kept", "city", "city", "city")
    assert rules.masks
    assert RulesFile.parse("").dump() == ""
    assert RulesFile.parse("").empty
    assert not RulesFile.parse("return = [{at_least = 1}]").empty
    with pytest.raises(ConfigError, match="the text: spent == 3: unknown field"):
        RulesFile.parse("spent = 3", "the text")


def test_the_earlier_name_of_a_budget_per_unit_is_taken():
    """A run folder of an earlier version has it in its config.toml."""
    head = '[data]\nrct = "a.csv"\n[columns]\ntreatment = "t"\nvalue = "v"\ncost = "c"\n[budget]\n'
    assert parse(f"{head}per_head = [0.5, 1.0]").budget == parse(f"{head}per_unit = [0.5, 1.0]").budget
    assert parse(f"{head}per_head = [0.5, 1.0]").budget.per_unit == (0.5, 1.0)
    with pytest.raises(ConfigError, match="per_head is the earlier name of per_unit, and both are given"):
        parse(f"{head}per_head = [0.5]\nper_unit = [0.5]")
