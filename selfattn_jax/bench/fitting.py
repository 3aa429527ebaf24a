"""How figures grow with length: the exponent p of c·Tᵖ."""

from collections.abc import Mapping, Sequence

import numpy as np

LONG = 2048  # from here on constant costs no longer hide the growth


def slope(points: Mapping[int, float | None]) -> float | None:
    """Fits a line through log figure over log length, by least squares.

      p = Σ (x − x̄)(y − ȳ) / Σ (x − x̄)²        x = log T,  y = log figure

    Args:
      points: length → figure; what is missing or not above 0 is left out.
    Returns: p, over lengths ≥ LONG if there are two of them, otherwise over all; None of fewer than two points.
    """
    there = {length: figure for length, figure in points.items() if figure is not None and figure > 0}
    far = {length: figure for length, figure in there.items() if length >= LONG}
    chosen = far if len(far) >= 2 else there
    if len(chosen) < 2:
        return None
    x, y = np.log(list(chosen)), np.log(list(chosen.values()))
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / (x @ x))


def growth(before: Sequence[tuple[int, float]], length: int) -> float:
    """How much longer a call will take at a longer length than at the last one, to leave out what takes too long.

      (T / T_last)ᵖ,  p from the last two lengths, within 1 … 3;  2 where there is only one

    Args:
      before: (length, seconds of a call), ascending; at least one.
      length: T.
    Returns: the factor.
    """
    exponent = slope(dict(before[-2:]))
    power = 2.0 if exponent is None else min(3.0, max(1.0, exponent))
    return float((length / before[-1][0]) ** power)
