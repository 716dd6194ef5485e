"""Decisions on a server: a student and its plans as an ONNX file and a table (`export`), and what reads them (`Served`)."""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
