"""R2H-Diff in torch, usable alone.

>>> import model
>>> reconstruct = model.Reconstructor(model.load(), sensitivities, scale)   # (3, 31) of a camera
>>> cube = reconstruct(rgb)   # linear (N, 3, T, T), white = 1

What it holds is named in `__init__.pyi`, and imported when it is first asked for: torch takes
seconds, and a command's help needs none of it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
