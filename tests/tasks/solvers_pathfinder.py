"""Pathfinder solved from the picture alone."""

import math

import numpy as np

STEP = 0.25  # of the fine grid
SLACK = STEP * math.sqrt(0.5) + 1 / 255  # how far the next point of the fine grid may be, and rounded ink
REACH = 2.4  # between what the grid shows of two neighbours, whose centre lines are at most 2.2 apart


def joined(image: np.ndarray) -> bool:
    """Whether one can walk from dot to dot by hops no longer than a gap.

    A stroke's ink fades by 1 a pixel, so ink v says that the nearest centre line is 1 − v away, and no ink that none is
    nearer than 1. What no pixel rules out are the centre lines, and the inside of dots.
    """
    points = centre_lines(image)
    dots = dotted(image, points)
    seen = np.zeros(len(points), bool)
    front = points[:1] if not dots.any() else points[np.flatnonzero(dots)[:1]]
    seen[np.flatnonzero(dots)[0]] = True
    while len(front):
        away = np.square(front[:, None] - points[None, ~seen]).sum(axis=2).min(axis=0)
        new = np.flatnonzero(~seen)[away <= REACH**2]
        seen[new] = True
        front = points[new]
    return bool(seen[dots].all())


def centre_lines(image: np.ndarray) -> np.ndarray:
    """[P,2]: the points of the fine grid that are as far from every pixel as its ink says."""
    size = len(image)
    away = np.pad(1 - image / 255, 1, constant_values=1.0)
    fine = np.arange(0, size, STEP)
    cell = np.floor(fine).astype(int)
    allowed = np.ones((len(fine), len(fine)), bool)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            rows, columns = fine - (cell + row + 0.5), fine - (cell + column + 0.5)
            distance = np.hypot(rows[:, None], columns[None, :])
            allowed &= distance >= away[np.ix_(cell + row + 1, cell + column + 1)] - SLACK
    return fine[np.argwhere(allowed)]


def dotted(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[P] bool: points in the middle of four pixels of more than half ink: no dash is so thick."""
    dark = image > 0.55 * 255
    blocks = dark[:-1, :-1] & dark[1:, :-1] & dark[:-1, 1:] & dark[1:, 1:]
    corners = np.argwhere(blocks) + 1.0
    return (np.abs(points[:, None] - corners[None]).max(axis=2) <= STEP / 2).any(axis=1)
