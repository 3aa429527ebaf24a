"""Pathfinder solved from the picture, and from the dashes; distances between dashes."""

import math

import numpy as np
from scipy.spatial import KDTree

GRIDS = ((0.25, 0.8), (0.125, 0.8), (0.0625, 0.4))  # step, and how many steps further than GAP a hop may be
GAP = 2.0  # between the centre lines of two neighbours, at most


def joined(image: np.ndarray) -> bool:
    """Whether one can walk from dot to dot by hops no longer than a gap, on every grid.

    A grid shows all that may be a centre line, and a little around it: where there is no way on a coarse one, there is
    none on finer ones, which take longer.
    """
    return all(joined_on(image, step, longer * step) for step, longer in GRIDS)


def joined_on(image: np.ndarray, step: float, longer: float) -> bool:
    """Whether there is a way on one grid, by hops so much longer than a gap.

    A stroke's ink fades by 1 a pixel, so ink v says that the nearest centre line is 1 − v away, and no ink that none is
    nearer than 1. What no pixel rules out are the centre lines, and the inside of dots.
    """
    points = centre_lines(image, step)
    dots = dotted(image, points, step)
    seen = np.arange(len(points)) == np.flatnonzero(dots)[0]
    front = points[seen]
    while len(front):
        away, _ = KDTree(front).query(points[~seen], distance_upper_bound=GAP + longer)
        new = np.flatnonzero(~seen)[np.isfinite(away)]
        seen[new] = True
        front = points[new]
    return bool(seen[dots].all())


def centre_lines(image: np.ndarray, step: float) -> np.ndarray:
    """[P,2]: the points of a grid that are as far from every pixel as its ink says."""
    size, slack = len(image), step * math.sqrt(0.5) + 1 / 255  # how far the next point may be, and rounded ink
    away = np.pad(1 - image / 255, 1, constant_values=1.0)
    fine = np.arange(0, size, step)
    cell = np.floor(fine).astype(int)
    allowed = np.ones((len(fine), len(fine)), bool)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            rows, columns = fine - (cell + row + 0.5), fine - (cell + column + 0.5)
            distance = np.hypot(rows[:, None], columns[None, :])
            allowed &= distance >= away[np.ix_(cell + row + 1, cell + column + 1)] - slack
    return fine[np.argwhere(allowed)]


def dotted(image: np.ndarray, points: np.ndarray, step: float) -> np.ndarray:
    """[P] bool: points in the middle of four pixels of more than half ink: no dash is so thick."""
    dark = image > 0.55 * 255
    blocks = dark[:-1, :-1] & dark[1:, :-1] & dark[:-1, 1:] & dark[1:, 1:]
    corners = np.argwhere(blocks) + 1.0
    return (np.abs(points[:, None] - corners[None]).max(axis=2) <= step / 2).any(axis=1)


def joined_by_distance(dashes: np.ndarray, dots: np.ndarray, reach: float) -> bool:
    """Whether one can walk from dot to dot along dashes [M,2,2], by hops from end to end no longer than `reach`."""
    hop = np.sqrt(np.square(dashes[:, None, :, None] - dashes[None, :, None, :]).sum(axis=-1)).min(axis=(2, 3)) <= reach
    at = [np.square(dashes - dot).sum(axis=-1).min(axis=1).argmin() for dot in dots]
    seen = np.arange(len(dashes)) == at[0]
    while not (seen == (hop[seen].any(axis=0))).all():
        seen = hop[seen].any(axis=0)
    return bool(seen[at[1]])


def nearest(dashes: np.ndarray) -> np.ndarray:
    """[M,M]: the distances between the centre lines [M,2,2], which do not cross: one end of two is always nearest."""
    start, along = dashes[:, 0].astype(float), (dashes[:, 1] - dashes[:, 0]).astype(float)
    ends = dashes.astype(float)[:, None]  # [M,1,2,2]
    offset = ends - start[None, :, None]
    share = np.clip((offset * along[None, :, None]).sum(axis=-1) / np.square(along).sum(axis=-1)[None, :, None], 0, 1)
    away = np.sqrt(np.square(offset - share[..., None] * along[None, :, None]).sum(axis=-1)).min(axis=2)
    return np.minimum(away, away.T)
