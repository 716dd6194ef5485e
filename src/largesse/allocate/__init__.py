"""Exact budget allocation: price intervals, the frontier of all budgets, the plan at one budget."""

from largesse.allocate.clusters import Chance, ClusterCells, ClusterPlan, Expected, Split, Tail, plan_clusters
from largesse.allocate.constrained import Bound, Constrained, solve_under
from largesse.allocate.frontier import Frontier, frontier
from largesse.allocate.grid import Grid, grid
from largesse.allocate.intervals import assign, intervals, taken_interval
from largesse.allocate.pacing import Pacer
from largesse.allocate.rules import Count, Return, Rule, Spend, Use
from largesse.allocate.solve import audit, price_plan, solve

__all__ = [
    "Bound", "Chance", "ClusterCells", "ClusterPlan", "Constrained", "Count", "Expected", "Frontier", "Grid", "Pacer",
    "Return", "Rule", "Spend", "Split", "Tail", "Use", "assign", "audit", "frontier", "grid", "intervals",
    "plan_clusters", "price_plan", "solve", "solve_under", "taken_interval",
]  # fmt: skip
