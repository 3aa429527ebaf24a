"""Numbers for humans. Every function takes None, NaN and ±∞ too, and shows them as a dash."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "–"

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
FRACTIONS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def finite(number: Any) -> float | None:
    """The number as a float, or None if it is missing, not finite or not a number."""
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    return float(number) if math.isfinite(number) else None


def score(number: Any, metric: str) -> str:
    """A score in the manner of its metric: 99.9 % for an accuracy, 0.031 for an error."""
    value = finite(number)
    if value is None:
        return MISSING
    return f"{_percent(value)} %" if metric == "accuracy" else f"{value:.{_decimals(value)}f}"


def interval(low: Any, high: Any, metric: str, like: Any = None) -> str:
    """An interval, such as [99.2, 100] or [0.29, 0.33], as fine as the number `like` beside it; "" if there is none."""
    ends = finite(low), finite(high)
    if ends[0] is None or ends[1] is None:
        return ""
    if metric == "accuracy":
        return f"[{_percent(ends[0])}, {_percent(ends[1])}]"
    digits = _decimals(finite(like) or ends[1])
    return f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def span(scores: Sequence[float], metric: str) -> str:
    """From the lowest score to the highest, such as 12 % to 40 %; "" of fewer than two."""
    return f"{score(min(scores), metric)} to {score(max(scores), metric)}" if len(scores) > 1 else ""


def score_interval(mean: Any, low: Any, high: Any, metric: str) -> str:
    """A mean with its interval, such as 0.31 [0.29, 0.33]."""
    return f"{score(mean, metric)} {interval(low, high, metric, like=mean)}".strip()


def rate_interval(low: Any, high: Any) -> str:
    """The interval of a rate in whole percent, such as [51, 100] %; "" if there is none."""
    ends = finite(low), finite(high)
    return "" if ends[0] is None or ends[1] is None else f"[{ends[0]:.0%}, {ends[1]:.0%}]".replace("%", "") + " %"


def quantity(number: Any, unit: str = "") -> str:
    """A count with a prefix and three digits: 12.3 k, 1.2 M; with a unit 1.2 MFLOP."""
    value = finite(number)
    if value is None:
        return MISSING
    for factor, prefix in PREFIXES:
        if abs(value) >= 0.9995 * factor:
            return f"{_three_digits(value / factor)} {prefix}{unit}"
    return f"{_three_digits(value)} {unit}".strip()


def duration(seconds: Any) -> str:
    """A time: 0.4 s, 73 s, 12 min 5 s, 2 h 10 min."""
    value = finite(seconds)
    if value is None:
        return MISSING
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def short_time(seconds: Any) -> str:
    """A time that may be far below a second, with three digits: 45.1 µs, 1.23 ms, 12 s."""
    value = finite(seconds)
    if value is None:
        return MISSING
    for factor, unit in FRACTIONS:
        if abs(value) >= 0.9995 * factor:
            return f"{_three_digits(value / factor)} {unit}"
    return f"{_three_digits(value)} s"


def learning_rate(number: Any) -> str:
    """A learning rate as a person would write it: 0.003, 1e-05."""
    value = finite(number)
    return MISSING if value is None else f"{value:g}"


def plain(value: Any) -> str:
    """A value of a setting as a config says it, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else " ".join(str(value).split())


def listed(words: list[str]) -> str:
    """Words in a sentence: a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _percent(value: float) -> str:
    """A share in percent with one decimal; never rounded to a 0 or a 100 that it is not."""
    if value in (0.0, 1.0):
        return f"{100 * value:.0f}"
    text = f"{100 * value:.1f}"
    return {"0.0": "<0.1", "100.0": ">99.9" if value < 1 else "100.0"}.get(text, text)


def _decimals(value: float) -> int:
    """How many decimals show two significant digits of a small number, and no more than that of a large one."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return min(8, max(0, 2 - size if size >= 0 else 1 - size))


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
