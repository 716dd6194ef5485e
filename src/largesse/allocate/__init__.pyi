from .budget_frontier import (
    Frontier as Frontier,
)
from .budget_frontier import (
    frontier as frontier,
)
from .budget_grid import (
    Grid as Grid,
)
from .budget_grid import (
    grid as grid,
)
from .cluster_plan import (
    Chance as Chance,
)
from .cluster_plan import (
    ClusterCells as ClusterCells,
)
from .cluster_plan import (
    ClusterPlan as ClusterPlan,
)
from .cluster_plan import (
    Expected as Expected,
)
from .cluster_plan import (
    Split as Split,
)
from .cluster_plan import (
    Tail as Tail,
)
from .cluster_plan import (
    plan_clusters as plan_clusters,
)
from .constrained import (
    Bound as Bound,
)
from .constrained import (
    Constrained as Constrained,
)
from .constrained import (
    solve_under as solve_under,
)
from .pacing import (
    Pacer as Pacer,
)
from .price_intervals import (
    assign as assign,
)
from .price_intervals import (
    intervals as intervals,
)
from .price_intervals import (
    taken_interval as taken_interval,
)
from .rules import (
    Count as Count,
)
from .rules import (
    Return as Return,
)
from .rules import (
    Rule as Rule,
)
from .rules import (
    Spend as Spend,
)
from .rules import (
    Use as Use,
)
from .solver import (
    audit as audit,
)
from .solver import (
    price_plan as price_plan,
)
from .solver import (
    solve as solve,
)

__all__ = [
    "Bound",
    "Chance",
    "ClusterCells",
    "ClusterPlan",
    "Constrained",
    "Count",
    "Expected",
    "Frontier",
    "Grid",
    "Pacer",
    "Return",
    "Rule",
    "Spend",
    "Split",
    "Tail",
    "Use",
    "assign",
    "audit",
    "frontier",
    "grid",
    "intervals",
    "plan_clusters",
    "price_plan",
    "solve",
    "solve_under",
    "taken_interval",
]
