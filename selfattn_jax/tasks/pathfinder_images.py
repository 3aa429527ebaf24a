"""Pictures of dashed paths and two dots, by number: picture i of a seed is always the same."""

from collections.abc import Iterator
from typing import NamedTuple, Unpack

import numpy as np
from numpy.random import Generator

from selfattn_jax.tasks.pathfinder_paths import DOT, LINE, Knobs, Paths, draw_paths

BLOCK = 512  # pictures drawn together, from one generator: half of them have joined dots
LEAST_TRIES = 64
MOST_ROUNDS = 1000  # after so many without enough pictures there is no room for them


class Pictures(NamedTuple):
    """Pictures and what is in them; points are (row, column) in pixels, and the first pixel's centre is (½, ½).

    images: [N,size,size] uint8, ink from 0 to 255.
    joined: [N] int32, 1 where one path runs from dot to dot.
    dots: [N,2,2] float32, the centres of the dots, in the order in which their pixels are read.
    long, short: the centre lines of all dashes, as in `Paths`.
    """

    images: np.ndarray
    joined: np.ndarray
    dots: np.ndarray
    long: np.ndarray
    short: np.ndarray


def pathfinder_images(seed: int, first: int, count: int, **knobs: Unpack[Knobs]) -> Pictures:
    """Pictures first … first + count − 1 of a seed.

    Blocks of 512 pictures are drawn from generators of their own, so pictures do not depend on which others are asked
    for, and ranges that do not overlap share no random number.

    Args:
      seed: of all the pictures.  first, count: which of them.
      knobs: what is drawn.
    Returns: N = count pictures.
    Raises: RuntimeError when there is no room for such paths.
    """
    blocks = range(first // BLOCK, -(-(first + count) // BLOCK))
    drawn = [_draw_block(seed, block, **knobs) for block in blocks]
    start = first - BLOCK * blocks.start
    return Pictures(*(np.concatenate(leaves)[start : start + count] for leaves in zip(*drawn, strict=True)))


def _draw_block(seed: int, block: int, **knobs: Unpack[Knobs]) -> Pictures:
    rng = np.random.default_rng([seed, block])
    long, short = _enough_paths(rng, **knobs)
    joined = rng.permutation(np.arange(BLOCK) % 2).astype(np.int32)
    # The near end always has a dot; the other is at the far end of the same path, or at its twin.
    second = np.where(joined[:, None] == 1, long[:, 0, -1, 1], long[:, 1, 0, 0])
    dots = np.stack([long[:, 0, 0, 0], second], axis=1)
    index = np.floor(dots[:, :, 0]) * knobs["size"] + np.floor(dots[:, :, 1])
    dots = np.take_along_axis(dots, np.argsort(index, axis=1)[:, :, None], axis=1)
    dashes = np.concatenate([path.reshape(BLOCK, -1, 2, 2) for path in (long, short)], axis=1)
    return Pictures(rasterise(dashes, dots, knobs["size"]), joined, dots, long, short)


def _enough_paths(rng: Generator, **knobs: Unpack[Knobs]) -> Paths:
    """The paths of one block."""
    found: list[Paths] = []
    missing = BLOCK
    for _ in range(MOST_ROUNDS):
        found.append(draw_paths(rng, max(LEAST_TRIES, 4 * missing), **knobs))
        missing -= len(found[-1].long)
        if missing <= 0:
            return Paths(*(np.concatenate(leaves)[:BLOCK] for leaves in zip(*found, strict=True)))
    raise RuntimeError(f"no room for such paths, {knobs}: choose a larger size, or fewer dashes")


def rasterise(dashes: np.ndarray, dots: np.ndarray, size: int) -> np.ndarray:
    """Draws dashes with round ends and filled dots; the edge of a stroke is one pixel wide.

      ink = min(1, max(0, radius + ½ − distance of the pixel's centre from the centre line))

    Args:
      dashes: [N,M,2,2] their centre lines.  dots: [N,P,2] their centres.
      size: the side of a picture.
    Returns: [N,size,size] uint8, 255 where the ink is full.
    """
    image = np.zeros((len(dashes), size, size), np.float32)
    strokes = [(dash, LINE / 2) for dash in _one_by_one(dashes)]
    strokes += [(np.stack([dot, dot], axis=1), DOT) for dot in _one_by_one(dots)]
    for stroke, radius in strokes:
        _draw_stroke(image, stroke, radius)
    return (255 * image + np.float32(0.5)).astype(np.uint8)


def _one_by_one(things: np.ndarray) -> Iterator[np.ndarray]:
    return (things[:, index] for index in range(things.shape[1]))


def _draw_stroke(image: np.ndarray, stroke: np.ndarray, radius: float) -> None:
    """Draws one stroke [N,2,2] in every image [N,size,size]: the darker of it and what is there."""
    size = image.shape[1]
    start, along = stroke[:, 0], stroke[:, 1] - stroke[:, 0]
    reach = int(np.ceil(radius + 0.5 + np.sqrt(np.square(along).sum(axis=1)).max() / 2)) + 1
    middle = np.floor(start + along / 2).astype(np.int64)
    near = np.clip(middle[:, :, None] + np.arange(-reach, reach + 1), 0, size - 1)  # [N,2,w] rows and columns

    rows = (near[:, 0].astype(np.float32) + np.float32(0.5) - start[:, :1])[:, :, None]
    columns = (near[:, 1].astype(np.float32) + np.float32(0.5) - start[:, 1:])[:, None, :]
    square = np.square(along).sum(axis=1)[:, None, None]
    share = rows * along[:, :1, None] + columns * along[:, 1:, None]
    share = np.clip(share / np.where(square > 0, square, 1), 0, 1)
    rows, columns = rows - share * along[:, :1, None], columns - share * along[:, 1:, None]
    ink = np.clip(np.float32(radius + 0.5) - np.sqrt(rows * rows + columns * columns), 0, 1)

    at = np.arange(len(image))[:, None, None], near[:, 0, :, None], near[:, 1, None, :]
    image[at] = np.maximum(image[at], ink)
