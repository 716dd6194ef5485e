"""Exact budget allocation: price intervals, the frontier of all budgets, the plan at one budget."""

from largesse.allocate.constrained import Bound, Constrained, solve_under
from largesse.allocate.frontier import Frontier, frontier
from largesse.allocate.grid import Grid, grid
from largesse.allocate.intervals import assign, intervals, taken_interval
from largesse.allocate.pacing import Pacer
from largesse.allocate.rules import Count, Return, Rule, Spend, Use
from largesse.allocate.solve import audit, price_plan, solve

__all__ = [
    "Bound", "Constrained", "Count", "Frontier", "Grid", "Pacer", "Return", "Rule", "Spend", "Use", "assign", "audit",
    "frontier", "grid", "intervals", "price_plan", "solve", "solve_under", "taken_interval",
]  # fmt: skip
