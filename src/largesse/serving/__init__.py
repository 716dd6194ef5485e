"""Decisions on a server: a student and its plans as an ONNX file and a table (`export`), and what reads them (`Served`)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
