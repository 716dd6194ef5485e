"""Decisions on a server: `export` writes a student and its plans as an ONNX file and a table, `Served` reads them.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
