"""Dashed paths that keep clear of each other, many pictures at once: the geometry of pathfinder.

A path is a chain of dashes. Two neighbours meet at a joint in the middle of the gap between them, where the path turns;
dashes that are no neighbours are everywhere farther from each other than neighbours are. What belongs together can be
told from distances alone.

The two long paths of a picture are made as twins. One grows freely from its near end; the other begins as the mirror
image of its far end, mirrored in the line of the near end's dash, and then grows by itself. Seen from the near end, the
far end and its twin lie as far away and at the same angle, and their dashes lean towards the near end alike. A picture
is as good for one answer as for the other, whichever of the two gets the second dot.

Headings are whole degrees of a table, and nothing but sums, products and comparisons follows: the same numbers on any
machine.
"""

import math
from typing import NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.random import Generator

PITCH = 3.0  # from joint to joint
CORE = 1.0  # the centre line of a dash; its ink is LINE / 2 longer at either end
LINE = 1.0  # the width of a dash
DOT = 1.5  # the radius of a dot
BORDER = 1.5  # no centre line comes closer to the edge of the picture: a dot fits
CLEAR = 3.0  # between centre lines of dashes that are no neighbours; neighbours come within PITCH − CORE = 2
CLEAR_OF_DOT = CLEAR + DOT - LINE / 2  # the same emptiness around a dot, wherever one may stand
BETWEEN_DOTS = CLEAR + 2 * (DOT - LINE / 2)

TWINS = 2  # dashes at the far end that are mirrored
TURNS = 8  # directions tried when a path grows
PATIENCE = 4  # a path is given up after so many times its dashes
STARTS = 24  # places tried for a distractor at a time
ROUNDS = 12  # times that a picture is tried for each distractor
FAR = np.float32(1e3)  # where points lie that are not there

_DEGREES = [math.radians(degree) for degree in range(360)]
COMPASS = np.array([[round(math.sin(angle), 6), round(math.cos(angle), 6)] for angle in _DEGREES], np.float32)


class Paths(NamedTuple):
    """Centre lines of dashes, in pixels, as (row, column); the first pixel's centre is (½, ½).

    long: [N,2,L,2,2] float32: two paths, their L dashes, the two ends of each. Path 0 runs from the near end to the far
      end, path 1 begins at the twin of the far end.
    short: [N,distractors,S,2,2] float32: the distractors and their S dashes.
    """

    long: np.ndarray
    short: np.ndarray


class Knobs(TypedDict):
    """What is drawn.

    size: the side of a picture, in pixels.
    contour: L, dashes of a long path.
    distractors: short paths.  distractor_length: S, dashes of each.
    continuity: how smooth paths are: they turn by less than 90° / continuity.
    """

    size: int
    contour: int
    distractors: int
    distractor_length: int
    continuity: float


def turn_table(continuity: float) -> np.ndarray:
    """The cumulative probabilities of turns by −90 … 90 degrees.

    p(δ) ∝ cos²(continuity·δ), and 0 where continuity·|δ| is a quarter turn or more
    """
    angles = [math.radians(degree) * continuity for degree in range(-90, 91)]
    weights = [round(math.cos(angle) ** 2, 6) if abs(angle) < math.pi / 2 else 0.0 for angle in angles]
    total = np.cumsum(weights)
    return total / total[-1]


def draw_paths(rng: Generator, tries: int, **knobs: Unpack[Knobs]) -> Paths:
    """Tries to draw pictures, and returns those in which everything found its place.

    Args:
      rng: where the numbers come from.  tries: pictures begun.  knobs: what is drawn.
    Returns: the paths of N ≤ tries pictures.
    """
    size, contour, table = knobs["size"], knobs["contour"], turn_table(knobs["continuity"])
    first, heading = _anywhere(rng, (tries, 1), size)
    nothing = np.empty((tries, 0, 2), np.float32)
    path, headings, done = _grow(rng, first, heading, nothing, nothing, contour, table, size)
    path, headings = path[done], headings[done]

    twin, heading = _twin(path, headings)
    fits = _twin_fits(path, twin, size)
    path, twin, heading = path[fits], twin[fits], heading[fits]
    dots = np.stack([path[:, 0, 0], path[:, -1, 1]], axis=1)
    other, _, done = _grow(rng, twin, heading, _points(path), dots, contour, table, size)
    long = np.stack([path[done], other[done]], axis=1)
    return _add_distractors(rng, long, size, knobs["distractors"], knobs["distractor_length"], table)


def _twin(path: np.ndarray, headings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last dashes, turned round and mirrored in the line of the first: [N,TWINS,2,2], and their headings [N,TWINS].

    The dot hides the first of them.
    """
    near, axis = path[:, :1, 0], COMPASS[headings[:, :1]]
    offset = path[:, : -TWINS - 1 : -1, 1] - near
    along = (offset * axis).sum(axis=2, keepdims=True)
    tips = near + 2 * along * axis - offset
    heading = (2 * headings[:, :1] - headings[:, : -TWINS - 1 : -1] - 180) % 360
    return _dash(tips, heading), heading


def _twin_fits(path: np.ndarray, twin: np.ndarray, size: int) -> np.ndarray:
    """Whether [N] the twin is in the picture and clear of the path, and the dots are clear of all that is drawn."""
    near, far, there = path[:, None, :1, 0], path[:, None, -1:, 1], twin[:, None, :1, 0]
    fits = _inside(twin, size).all(axis=1) & _clear(twin, _points(path), CLEAR).all(axis=1)
    fits &= _clear(there, _points(path), CLEAR_OF_DOT)[:, 0]
    fits &= _clear(near, _points(twin), CLEAR_OF_DOT)[:, 0] & _clear(far, _points(twin), CLEAR_OF_DOT)[:, 0]
    fits &= _clear(far, _points(path[:, :-2]), CLEAR_OF_DOT)[:, 0]
    return fits & _clear(far, near[:, 0], BETWEEN_DOTS)[:, 0]  # and the twin is as far from the near end


def _grow(
    rng: Generator,
    begun: np.ndarray,
    heading: np.ndarray,
    obstacles: np.ndarray,
    dots: np.ndarray,
    length: int,
    table: np.ndarray,
    size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paths that have begun grow dash by dash; one that runs into a corner takes a few steps back.

    Args:
      begun: [N,P,2,2] the first dashes.  heading: [N,P].
      obstacles: [N,M,2] points of dashes to keep clear of.  dots: [N,Q,2] points to keep clear of as of a dot.
      length: L.
    Returns: dashes [N,L,2,2], their headings [N,L], and which paths [N] have come to their end.
    """
    count, start = begun.shape[:2]
    dashes = np.full((count, length, 2, 2), FAR, np.float32)
    headings = np.zeros((count, length), np.int64)
    dashes[:, :start], headings[:, :start] = begun, heading
    grown = np.full(count, start)
    for _ in range(PATIENCE * length):
        active = np.flatnonzero(grown < length)
        if not active.size:
            break
        last = grown[active] - 1
        turns = _turns(rng, table, (active.size, TURNS))
        tried = (headings[active, last][:, None] + turns) % 360
        ends = _next(dashes[active, last], headings[active, last], tried)
        own = dashes[active]
        own[np.arange(length)[None, :] >= last[:, None]] = FAR  # the neighbour, and what is not there
        good = _inside(ends, size)
        good &= _clear(ends, np.concatenate([_points(own), obstacles[active]], axis=1), CLEAR)
        kept_clear = np.concatenate([own[:, :1, 0], dots[active]], axis=1)
        good &= _clear(ends, kept_clear, CLEAR_OF_DOT)
        choice = np.argmax(good * (1 + rng.random(good.shape)), axis=1)
        grows = good.any(axis=1)
        rows, at, chosen = active[grows], last[grows] + 1, choice[grows]
        dashes[rows, at] = ends[grows, chosen]
        headings[rows, at] = tried[grows, chosen]
        back = 1 + (3 * rng.random(active.size)).astype(np.int64)
        grown[active] = np.where(grows, last + 2, np.maximum(last + 1 - back, start))
    return dashes, headings, grown == length


def _add_distractors(
    rng: Generator, long: np.ndarray, size: int, distractors: int, distractor_length: int, table: np.ndarray
) -> Paths:
    """Short paths one after another, wherever there is room; pictures without room for all of them are given up."""
    short = np.full((len(long), distractors, distractor_length, 2, 2), FAR, np.float32)
    for index in range(distractors):
        missing = np.arange(len(long))
        for _ in range(ROUNDS):
            obstacles = np.concatenate([_points(long[missing]), _points(short[missing])], axis=1)
            dots = np.stack([long[missing, 0, 0, 0], long[missing, 0, -1, 1], long[missing, 1, 0, 0]], axis=1)
            first, heading = _anywhere(rng, (missing.size, STARTS), size)
            good = _inside(first, size) & _clear(first, obstacles, CLEAR)
            good &= _clear(first, dots, CLEAR_OF_DOT)
            choice = np.argmax(good, axis=1)
            at = np.arange(missing.size)
            arguments = (obstacles, dots, distractor_length, table, size)
            path, _, done = _grow(rng, first[at, choice, None], heading[at, choice, None], *arguments)
            done &= good.any(axis=1)
            short[missing[done], index] = path[done]
            missing = missing[~done]
            if not missing.size:
                break
        placed = np.ones(len(long), bool)
        placed[missing] = False
        long, short = long[placed], short[placed]
    return Paths(long, short)


def _anywhere(rng: Generator, shape: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Dashes [...,2,2] that begin inside a picture, and their headings [...]."""
    tip = (BORDER + (size - 2 * BORDER) * rng.random((*shape, 2))).astype(np.float32)
    heading = (360 * rng.random(shape)).astype(np.int64)
    return _dash(tip, heading), heading


def _turns(rng: Generator, table: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Turns [N,C] in degrees, one from each C-th of the probability: few of them find a way out where there is one."""
    uniform = (np.arange(shape[1]) + rng.random(shape)) / shape[1]
    return np.searchsorted(table, uniform, side="right") - 90


def _dash(tip: np.ndarray, heading: np.ndarray) -> np.ndarray:
    return np.stack([tip, tip + np.float32(CORE) * COMPASS[heading]], axis=-2)


def _next(dash: np.ndarray, heading: np.ndarray, tried: np.ndarray) -> np.ndarray:
    """The dashes [N,C,2,2] that follow a dash [N,2,2] of a heading [N] at each of the headings that are tried [N,C]."""
    half = np.float32((PITCH - CORE) / 2)
    joint = dash[:, 1] + half * COMPASS[heading]
    return _dash(joint[:, None] + half * COMPASS[tried], tried)


def _points(dashes: np.ndarray) -> np.ndarray:
    """[N,M,2]: the ends of all the dashes [N,...,2,2] of a picture."""
    return dashes.reshape(len(dashes), math.prod(dashes.shape[1:-1]), 2)


def _inside(dashes: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(((dashes >= BORDER) & (dashes <= size - BORDER)).all(axis=(-1, -2)))


def _clear(points: np.ndarray, obstacles: np.ndarray, least: float) -> np.ndarray:
    """Whether points [N,C,P,2] are all at least so far from all obstacles [N,M,2]: [N,C]."""
    if not obstacles.shape[1]:
        return np.ones(points.shape[:2], bool)
    rows = points[..., None, 0] - obstacles[:, None, None, :, 0]
    columns = points[..., None, 1] - obstacles[:, None, None, :, 1]
    rows *= rows
    columns *= columns
    rows += columns
    return rows.min(axis=(2, 3)) >= np.float32(least * least)
