"""A policy as an ONNX graph: one module for features, trees, networks, models and the menu; `policy` composes them.

Private: used by `largesse.serving`.
"""
