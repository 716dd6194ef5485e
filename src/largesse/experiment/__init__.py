"""What an online experiment has brought: STATE and mean-based estimators side by side, and whether they agree."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
