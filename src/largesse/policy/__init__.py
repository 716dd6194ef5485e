"""What is shipped: a model and a price curve that turns a budget in money into decisions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
