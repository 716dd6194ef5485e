from .exporter import export
from .policy import Decision, ServedPolicy
from .runtime import Served

__all__ = [
    "Decision", "Served", "ServedPolicy", "export",
]  # fmt: skip
