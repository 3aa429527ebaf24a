"""Costs as formulas in the letters of `shapes`, such as "(T+S)·K·V" or "T·log T·V", and what the letters stand for."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp


def evaluate(formula: str, sizes: Mapping[str, float]) -> float:
    """The value of a formula.

    Args:
      formula: sums of products of letters, numbers, roots (√T), logarithms (log T, of base 2) and sums in brackets.
      sizes: letter → size.
    Returns: the value; 0 of an empty formula.
    Raises: ValueError naming what cannot be read, or a letter that has no size.
    """
    return sum(math.prod(_factor(factor, sizes) for factor in _split(term, "·")) for term in _split(formula, "+"))


def letters_of(function: Callable, knobs: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that a function's docstring gives letters to: `projection: [M,K]` of an array, `chunk: C` of a number.

    Args:
      function: documented as the house does.
      knobs: name → array (or its shape and dtype) or number; what is not named here has its default.
    Returns: letter → size; 0 for a letter that only an array has which is not given.
    """
    said, found = inspect.getdoc(function) or "", {}
    arrays = {name: letters.split(",") for name, letters in re.findall(r"\b(\w+): \[([A-Z](?:,[A-Z])*)\]", said)}
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    knobs = defaults | dict(knobs)
    there = {letter for name, letters in arrays.items() if knobs.get(name) is not None for letter in letters}
    for name, knob in knobs.items():
        number = re.search(rf"\b{name}: ([A-Z])\b", said)
        if name in arrays and hasattr(knob, "shape"):
            found |= dict(zip(arrays[name], jnp.shape(knob), strict=False))
        elif name in arrays and knob is None:
            found |= dict.fromkeys(set(arrays[name]) - there, 0)
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
