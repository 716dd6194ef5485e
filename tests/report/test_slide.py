"""One answer on one page: it is a picture or a PDF of the size of a slide, and nothing of it leaves the page."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from largesse.report.blocks import Badge, Tone
from largesse.report.slide import Curve, Slide, slide

LINE = Curve(
    x=[0.0, 0.5, 1.0], y=[0.0, 0.2, 0.1], low=[0.0, 0.1, float("nan")], high=[0.0, 0.3, float("nan")],
    other=[0.0, 0.1, 0.05], names=("policy", "best mix of arms"), x_title="Budget, EUR per user", y_title="Net EUR", mark=0.4,
)  # fmt: skip
LONG = "60,000 EUR for 200,000 users are expected to bring +7,061 orders beyond giving nobody anything and leave +6,886 EUR"
FULL = Slide(
    title="Spring: Budget", sentence=LONG, badge=Badge("spend this, targeted", Tone.GOOD), notes=(LONG, LONG, LONG),
    facts=tuple((f"Name of number {k}, EUR per user", f"{k},000", "1 to 2") for k in range(12)), curve=LINE,
    source="From the run spring, by largesse; 2026-11-30. The same page: http://127.0.0.1:8750/budget?" + "keep=1;2;3&" * 20,
)  # fmt: skip


def pixels(content: Slide) -> np.ndarray:
    return np.asarray(imread(io.BytesIO(slide(content, "png")), format="png"))[..., :3]


@pytest.mark.parametrize(
    "content", [FULL, Slide(title="", sentence="A $ and a `word`"), Slide(title="x", sentence=LONG * 5)]
)
def test_it_has_the_size_of_a_slide_and_margins(content: Slide) -> None:
    drawn = pixels(content)
    height, width, _ = drawn.shape
    assert width / height == pytest.approx(16 / 9, abs=0.01)
    edge = 12
    for side in (drawn[:edge], drawn[-edge:], drawn[:, :edge], drawn[:, -edge:]):
        assert (side == 1.0).all(), "something is written over the edge"
    assert (drawn < 0.9).any()


def test_a_pdf_is_one_page_with_its_title() -> None:
    made = slide(FULL, "pdf")
    assert made.startswith(b"%PDF")
    assert made.count(b"/Type /Page\n") + made.count(b"/Type /Page ") == 1
    assert b"Spring: Budget" in made


def test_the_same_content_gives_the_same_bytes() -> None:
    assert slide(FULL, "pdf") == slide(FULL, "pdf")
    assert slide(FULL, "png") == slide(FULL, "png")
