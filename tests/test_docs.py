"""The examples of the documents run, and their links and tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

from largesse.logs import Logs
from largesse.models.registry import NAMES
from tests.common.worlds import orders

ROOT = Path(__file__).parent.parent


def test_the_readme_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    train, test = orders(800, seed=1), orders(800, seed=2)
    names: dict[str, object] = {"train": train, "test": test, "x": test.x}
    exec(code.replace("100_000", "100"), names)
    assert isinstance(train, Logs)
    assert capsys.readouterr().out


def test_every_candidate_is_described():
    text = (ROOT / "docs" / "methods.md").read_text()
    for name in NAMES:
        assert f"| `{name}` |" in text, name


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"
