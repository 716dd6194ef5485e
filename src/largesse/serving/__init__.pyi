from .exporter import export
from .runtime import Served

__all__ = [
    "Served", "export",
]  # fmt: skip
