r"""The configuration of a campaign in a TOML file: `load` reads it, `template` writes an empty one, `dump` a complete one.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.

>>> config = parse('data = {rct = "trial.csv"}\ncolumns = {treatment = "arm", value = "orders", cost = "spent"}')
>>> config.roles().cost, config.budget.safety
('spent', 0.95)
"""

from __future__ import annotations

from largesse.config.schema import Budget, Columns, Config, Data, Design, Learn, Outcome, Report, Rules, Run
from largesse.config.text import dump, load, parse, template

__all__ = [
    "Budget", "Columns", "Config", "Data", "Design", "Learn", "Outcome", "Report", "Rules", "Run", "dump", "load", "parse",
    "template",
]  # fmt: skip
