"""Several campaigns on one page: the sections of each report under a heading of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from largesse.report.blocks import Block, Card, Cards, Chart, Section, Slider, Text
from largesse.report.content import Results
from largesse.report.sections import sections

__all__ = ["campaign"]


def campaign(results: Results, *, key: str, title: str, story: str, short: str) -> list[Section]:
    """Returns the sections of a report for a page with several: a first one with the result, then those of the report.

    Args:
        results: The content of the report.
        key: Begins every anchor and the name of every chart, so that they are unique on the page.
        title: Heading of the first section.
        story: What the campaign is about.
        short: Begins the heading of every other section.
    """
    head = results.headline
    blocks: list[Block] = [
        Text(story),
        Text(head.sentence, lead="The answer: "),
        Text(" ".join(head.summary), quiet=True),
    ]
    if head.action:
        blocks.append(Text(head.action, lead="What to do: "))
    return [Section(key, title, blocks), *(_named(part, key, short) for part in sections(results))]


def _named(part: Section, key: str, short: str) -> Section:
    title = f"{short}: {part.title[:1].lower()}{part.title[1:]}"
    return Section(f"{key}-{part.anchor}", title, _unique(part.blocks, key))


def _unique(blocks: Sequence[Block], key: str) -> list[Block]:
    """Returns the blocks, names of charts and sliders beginning with the key, without pictures, which its folder has."""
    out: list[Block] = []
    for block in blocks:
        if isinstance(block, Chart):
            out.append(replace(block, name=f"{key}-{block.name}", picture=""))
        elif isinstance(block, Slider):
            out.append(replace(block, name=f"{key}-{block.name}"))
        elif isinstance(block, Cards):
            out.append(Cards(tuple(Card(card.title, tuple(_unique(card.blocks, key))) for card in block.cards)))
        else:
            out.append(block)
    return out
