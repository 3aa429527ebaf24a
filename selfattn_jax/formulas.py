"""Costs as formulas in the letters of `shapes`, such as "(T+S)·K·V" or "T·log T·V": their value, and how they grow."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

LENGTHS = "TS"


def evaluate(formula: str, sizes: Mapping[str, float]) -> float:
    """The value of a formula.

    Args:
      formula: sums of products of letters, numbers, roots (√T), logarithms (log T, of base 2) and sums in brackets.
      sizes: letter → size.
    Returns: the value; 0 of an empty formula.
    Raises: ValueError naming what cannot be read, or a letter that has no size.
    """
    return sum(math.prod(_factor(factor, sizes) for factor in _split(term, "·")) for term in _split(formula, "+"))


def degree(formula: str) -> float:
    """The power of the length with which a formula grows; a logarithm counts for nothing.

    Args:
      formula: as for `evaluate`.
    Returns: 0 for what does not depend on T or S.
    """
    letters = dict.fromkeys(re.findall(r"[A-Z]", formula), 1.0)

    def at(length: float) -> float:
        return evaluate(formula, letters | dict.fromkeys(LENGTHS, length))

    return round(2 * math.log2(at(2.0**61) / at(2.0**60))) / 2 if letters else 0


def letters_of(function: Callable, knobs: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that a function's docstring gives letters to: `projection: [M,K]` of an array, `chunk: C` of a number.

    Args:
      function: documented as the house does.
      knobs: name → array (or its shape and dtype) or number; what is not named here has its default.
    Returns: letter → size.
    """
    said, found = inspect.getdoc(function) or "", {}
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    for name, knob in (defaults | dict(knobs)).items():
        array = re.search(rf"\b{name}: \[([A-Z](?:,[A-Z])*)\]", said)
        number = re.search(rf"\b{name}: ([A-Z])\b", said)
        if array and hasattr(knob, "shape"):
            found |= dict(zip(array[1].split(","), jnp.shape(knob), strict=False))
        elif number and isinstance(knob, int):
            found[number[1]] = knob
    return found


def _split(formula: str, sign: str) -> list[str]:
    """The parts between the signs that stand in no bracket."""
    parts = re.split(rf"{re.escape(sign)}(?![^()]*\))", formula)
    return [part.strip() for part in parts if part.strip()]


def _factor(factor: str, sizes: Mapping[str, float]) -> float:
    if factor.startswith("(") and factor.endswith(")"):
        return evaluate(factor[1:-1], sizes)
    if factor.startswith("log "):
        return math.log2(max(2.0, evaluate(factor[4:], sizes)))
    if factor.startswith("√"):
        return math.sqrt(evaluate(factor[1:], sizes))
    if re.fullmatch(r"\d+", factor):
        return float(factor)
    if re.fullmatch(r"[A-Z]", factor):
        if factor not in sizes:
            raise ValueError(f"{factor} has no size; there are {', '.join(sizes)}")
        return float(sizes[factor])
    raise ValueError(f"{factor!r} is no letter, number, logarithm or bracket")
