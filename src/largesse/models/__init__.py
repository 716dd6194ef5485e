"""Learners of menus. Each name is loaded on first use: only what is asked for imports torch or LightGBM."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
