"""The application: doors, forms, headers, and every page in every form."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from largesse.config.rules import RulesFile
from largesse.web.contents import PAGES
from largesse.web.opened import Studio
from tests.common.studios import TEXT, made_run, made_units
from tests.common.visits import TOKEN, Visitor, visitor


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    place = tmp_path_factory.mktemp("studio")
    runs = [made_run(place), made_run(place, name="autumn", text=TEXT.replace("Spring", "Autumn"))]
    made = Studio(runs, users=made_units(place))
    made.prepare()
    return made


@pytest.fixture
def client(studio: Studio) -> Visitor:
    return visitor(studio)


def there(studio: Studio) -> list[str]:
    return [page.path for page in PAGES if page.there(studio)]


# ---- doors


def test_nobody_sees_a_page_without_the_link(studio: Studio) -> None:
    stranger = visitor(studio, enters=False)
    for path in ("/", *there(studio)):
        got = stranger.get(path)
        assert got.status_code == 401
        assert "Spring" not in got.text
    assert stranger.get("/enter", params={"token": "wrong"}).status_code == 401


def test_the_link_is_good_for_one_browser(studio: Studio) -> None:
    first = visitor(studio)
    assert first.get("/budget").status_code == 200
    second = Visitor(first.app)
    got = second.get("/enter", params={"token": TOKEN})
    assert got.status_code == 401
    assert "was used" in got.text


def test_the_cookie_is_for_this_site_only(studio: Studio) -> None:
    stranger = visitor(studio, enters=False)
    got = stranger.get("/enter", params={"token": TOKEN}, follow_redirects=False)
    cookie = got.headers["set-cookie"].lower()
    assert got.status_code == 303
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_visitor_with_a_key_reads_and_may_not_act(studio: Studio) -> None:
    reader = visitor(studio, role="report")
    assert reader.get("/budget").status_code == 200
    assert visitor(studio, role="decide").get("/budget").status_code == 401


def test_another_name_of_the_machine_is_refused(client: Visitor) -> None:
    got = client.get("/budget", headers={"host": "evil.example:8750"})
    assert got.status_code == 421


def test_forms_of_other_sites_and_large_ones_are_refused(client: Visitor) -> None:
    assert client.post("/leave", data={"form": "x"}, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/enter", content=b"a" * (2 << 20)).status_code == 413
    assert client.get("/budget").status_code == 200  # a wrong form has ended no session


def test_signing_out_ends_the_session(client: Visitor) -> None:
    secret = re.search(r'action="/leave"><input type="hidden" name="form" value="([^"]+)"', client.get("/budget").text)
    assert secret is not None
    client.post("/leave", data={"form": secret[1]})
    assert client.get("/budget").status_code == 401


# ---- pages


def test_every_page_has_every_form(studio: Studio, client: Visitor) -> None:
    for path in there(studio):
        page = client.get(path)
        assert page.status_code == 200, path
        assert page.text.startswith("<!doctype html>")
        content = client.get(path, params={"form": "json"}).json()
        assert content["headline"]
        text = client.get(path, params={"form": "md"}).text
        assert text.startswith("# ")
        assert client.get(path, params={"form": "pdf"}).content.startswith(b"%PDF")
        assert client.get(path, params={"form": "png"}).content.startswith(b"\x89PNG")
        for k, table in enumerate(content["tables"]):
            rows = list(csv.reader(io.StringIO(client.get(path, params={"form": "csv", "table": str(k)}).text)))
            assert len(rows) == len(table["rows"]) + 1
            assert rows[0] == table["columns"]
        assert client.get(path, params={"form": "csv", "table": "99"}).status_code == 404
        assert client.get(path, params={"form": "xml"}).status_code == 422


def test_no_page_has_a_script_of_its_own_or_an_address_elsewhere(studio: Studio, client: Visitor) -> None:
    for path in there(studio):
        got = client.get(path)
        policy = got.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        for script in re.findall(r"<script([^>]*)>", got.text):
            assert 'src="/static/' in script or 'type="application/json"' in script
        assert not re.findall(r"\son\w+=", got.text)
        assert not re.findall(r'(?:src|href|action|hx-get)="(?:https?:)?//', got.text)
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["referrer-policy"] == "same-origin"  # browsers name the origin of its forms


def test_files_are_kept_by_browsers_until_they_change(client: Visitor) -> None:
    names = re.findall(r'"(/static/[^"]+)"', client.get("/budget").text)
    assert len(names) == 5
    for name in names:
        got = client.get(name)
        assert got.status_code == 200
        assert "immutable" in got.headers["cache-control"]
    assert client.get("/static/x/../app.py").status_code == 404
    assert client.get("/static/x/app.py").status_code == 404


def test_a_part_is_sent_where_only_a_part_changes(client: Visitor) -> None:
    def part(target: str) -> str:
        return client.get("/budget", params={"budget": "500"}, headers={"hx-request": "true", "hx-target": target}).text

    moving, whole = part("moving"), part("view")
    assert moving.strip().startswith('<div id="moving"')
    assert "data-figure" not in moving
    assert whole.strip().startswith('<div id="view"')
    assert "data-figure" in whole
    assert "<!doctype" not in whole


def test_rules_are_a_file_to_download(client: Visitor) -> None:
    got = client.get("/rules", params={"form": "toml", "most.5": "40"})
    assert got.headers["content-type"] == "application/toml"
    assert "rules.toml" in got.headers["content-disposition"]
    assert RulesFile.parse(got.text).count[0].at_most == 40
    for other in ({"form": "toml"}, {"form": "toml", "rules": "caps = 1"}):
        assert client.get("/rules", params=other).status_code == 422, "there are none, or they are not valid"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/budget?budget=abc", "budget"), ("/budget?budget=-1", "budget"), ("/budget?cost=0", "cost"),
        ("/budget?value=0", "value"),
        ("/budget?run=winter", "winter"), ("/budget?safety=2", "safety"), ("/who?column=citty", "citty"),
        ("/who?within=city=west", "west"), ("/rules?budget=abc", "budget"), ("/rules?not=5", "not"), ("/unit?safety=2", "safety"),
         ("/compare?first=winter", "first"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(client: Visitor, address: str, words: str) -> None:
    got = client.get(address)
    assert got.status_code == 422
    assert words in got.text
    assert "Traceback" not in got.text
    assert got.text.startswith("<!doctype html>")  # with the navigation, to go on
    other = client.get(f"{address}&form=json")
    assert other.status_code == 422
    assert words in other.text


def test_what_an_address_says_is_escaped(client: Visitor) -> None:
    evil = "<script>alert(1)</script>"
    for address in ("/budget", "/who", "/compare"):
        for name in ("budget", "run", "column", "within", "keep", "value"):
            assert evil not in client.get(address, params={name: evil}).text


def test_runs_are_told_apart_by_name(studio: Studio, client: Visitor) -> None:
    assert list(studio.runs) == ["spring", "autumn"]
    assert "Spring" in client.get("/budget").text
    assert "Autumn" in client.get("/budget", params={"run": "autumn"}).text


def test_the_json_form_has_the_numbers_of_the_allocation(studio: Studio, client: Visitor) -> None:
    content = client.get("/budget", params={"form": "json", "budget": "700"}).json()["data"]
    units = studio.runs["spring"].population
    assert units is not None
    expected = units.allocate(700.0)
    assert content["allocation"]["mix"] == expected.plan.mix
    assert content["allocation"]["spend"]["mean"] == expected.spend.mean
    assert json.dumps(content)


def test_a_fault_shows_no_trace(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = visitor(studio)
    quiet.quiet = True
    monkeypatch.setattr("largesse.web.app.page_templates", lambda: 1 / 0)
    got = quiet.get("/budget")
    assert got.status_code == 500
    assert "Traceback" not in got.text
    assert "fault" in got.text


def test_a_run_without_units_or_proof_says_what_to_do(tmp_path: Path) -> None:
    import shutil

    run = made_run(tmp_path)
    shutil.rmtree(run / "proof")
    client = visitor(Studio([run]))
    got = client.get("/budget")
    assert got.status_code == 422
    assert "Fit it again" in got.text
    (run / "sections.json").unlink()
    assert "earlier version" in client.get("/proof").text
