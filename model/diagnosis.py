"""When training has broken: told at once, with a reason, before hours are lost."""

import math

EXPLODED = 10.0
"""How many times the usual loss is no longer chance."""
USUAL = 50
"""Iterations that make a loss the usual one."""
PATIENCE = 300
"""Iterations after the warm-up until the answer must differ between pixels."""
FLAT = 1e-3
"""Spread of the answer within an image, of that of the truth, below which it is one value."""


class Diverged(FloatingPointError):
    """Training broke; the state of the last save is kept."""

    def __init__(self, found: str, iteration: int, fix: str) -> None:
        super().__init__(
            f"training must go on learning; got {found} at iteration {iteration}. {fix}"
        )


class Watch:
    """Looks at each iteration. It decides nothing but when to stop."""

    def __init__(self, warm_up: int) -> None:
        self._warm_up = warm_up
        self._usual, self._count = 0.0, 0

    def look(self, iteration: int, loss: float, norm: float, spread: tuple[float, float]) -> None:
        """Raise Diverged for a loss or norm that is not finite, an explosion or a flat answer.

        ``spread`` is the standard deviation within images, of the estimate and of the truth.
        """
        fix = "Train in another folder with a lower learning_rate or more crops an iteration."
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"a loss of {loss} with a gradient of {norm}", iteration, fix)
        if self._count >= USUAL and loss > EXPLODED * self._usual:
            found = f"a loss of {loss:.4g} after {self._usual:.4g}"
            raise Diverged(found, iteration, fix)
        estimate, truth = spread
        if iteration >= self._warm_up + PATIENCE and estimate < FLAT * truth:
            found = f"one value wherever it looks (spread {estimate:.2g}, truth {truth:.2g})"
            raise Diverged(found, iteration, "Raise learning_rate, or look at the data.")
        self._count += 1
        self._usual += (loss - self._usual) / min(self._count, USUAL)
