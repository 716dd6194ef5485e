from .export import (
    export as export,
)
from .runtime import (
    Served as Served,
)

__all__ = [
    "Served",
    "export",
]
