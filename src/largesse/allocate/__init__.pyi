from .budget_frontier import Frontier, frontier
from .budget_grid import Grid, grid
from .cluster_plan import ClusterCells, ClusterPlan, Split, plan_clusters
from .constrained import solve_under
from .pacing import Pacer
from .price_intervals import assign, intervals, taken_interval
from .risk import Chance, Expected, Tail
from .rules import Count, Return, Rule, Spend, Use
from .solver import audit, price_plan, solve

__all__ = [
    "Chance", "ClusterCells", "ClusterPlan", "Count", "Expected", "Frontier", "Grid", "Pacer", "Return", "Rule",
    "Spend", "Split", "Tail", "Use", "assign", "audit", "frontier", "grid", "intervals", "plan_clusters",
    "price_plan", "solve", "solve_under", "taken_interval",
]  # fmt: skip
