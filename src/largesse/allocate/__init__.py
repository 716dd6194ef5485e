"""Exact budget allocation: price intervals, the frontier of all budgets, the plan at one budget."""

from largesse.allocate.frontier import Frontier, frontier
from largesse.allocate.grid import Grid, grid
from largesse.allocate.intervals import assign, intervals, taken_interval
from largesse.allocate.solve import audit, price_plan, solve

__all__ = [
    "Frontier",
    "Grid",
    "assign",
    "audit",
    "frontier",
    "grid",
    "intervals",
    "price_plan",
    "solve",
    "taken_interval",
]
