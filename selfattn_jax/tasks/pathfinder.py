"""Pathfinder: does a dashed path join the two dots of a picture?"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.shapes import Array, AtLeastOne, NonNegativeInt, PositiveInt
from selfattn_jax.tasks.host_cache import Arrays, Tell, cached_arrays
from selfattn_jax.tasks.pathfinder_images import BLOCK, pathfinder_images
from selfattn_jax.tasks.pathfinder_paths import CLEAR, PITCH, TWINS, Knobs
from selfattn_jax.tasks.task import Example, Task, integers_below, require

FULL = 0.45  # the share of a picture that paths and the room around them may take; at more it takes too long to find

SEEN = 16384  # training pictures that shortcuts take their means of


class Data(NamedTuple):
    """Training pictures [N,size,size] uint8, whether their dots are joined [N] and their distance [N], int32."""

    images: Array
    joined: Array
    distance: Array


def pathfinder(
    *,
    images: PositiveInt = 1024,
    held_out: PositiveInt = 256,
    size: PositiveInt = 32,
    contour: PositiveInt = 14,
    distractors: NonNegativeInt = 5,
    distractor_length: PositiveInt = 4,
    continuity: AtLeastOne = 1.0,
    seed: NonNegativeInt = 0,
) -> Task:
    """Two dots lie in a picture of dashed paths, and the answer is whether one path runs from dot to dot.

        ● ╴ ╴ ╴ ╮   ╶ ╴ ╴ ╮        ● ╴ ╴ ╴ ╮   ● ╴ ╴ ╮
                ╎         ╎                ╎         ╎      row by row from the top left, ink from 0 to 1:
        ╭ ╴ ╴ ╴ ╯   ╶ ╴ ╴ ╯        ╭ ╴ ╴ ╴ ╯   ╶ ╴ ╴ ╯      length size², inputs [size²,1]
        ╰ ╴ ●                      ╰ ╴ ╴
                   target 1                    target 0

    Every picture has two long paths and a few short ones, none of which touch. One dot is at an end of a long path, the
    other at its far end (1), or at an end of the other long path (0), which lies as far away and at the same angle. So
    pictures of both kinds have the same ink, the same paths and dots at the same distances. Of each 512
    pictures half are of either kind.

    Pictures are drawn by number from the seed: validation, test, then training. The distance is how many positions of
    the sequence the dots are apart; the difficulty is the number of dashes of a long path. A score of 0.95 counts as
    solved; the best in the table of the Long Range Arena is 0.77, of pictures that are drawn a little differently.

    Shortcuts: `majority` one answer always (0.50); the kind that is nearest in the mean by its ink (`ink`, 0.50), by
    the distance of the dots (`dot_distance`, 0.50), by the whole picture (`nearest_mean`, 0.52; 0.57 of 20 pixels and
    paths of 6 dashes, 0.60 of 14 and 4, as in configs/pathfinder/small.yaml). Fits to 6,000 pictures, linear ones to
    what is near the dots and nearest neighbours by where the dots are, came to 0.61.

    Args:
        images: pictures to train with.  held_out: for validation, and as many for the test.
        size: the side of a picture, in pixels.
        contour: dashes of a long path, at least 4; a dash and its gap are 3 pixels long.
        distractors: short paths.  distractor_length: dashes of each.
        continuity: how smooth paths are: the chance of a turn by δ is as cos²(continuity·δ), up to a quarter turn.
        seed: of the pictures.
    Returns: the task; a class per sequence.
    Raises: ValueError naming the knob, what came and the bound.
    References: Linsley et al. 2018, arXiv:1805.08315; Tay et al. 2021, Long Range Arena, arXiv:2011.04006.
    """
    require(contour >= 2 * TWINS, "contour", contour, f"at least {2 * TWINS}: either end of a path has {TWINS} dashes")
    dashes = 2 * contour + distractors * distractor_length
    least = _least_size(dashes, contour)
    require(size >= least, "size", size, f"at least {least}, to have room for {dashes} dashes that keep clear")
    drawn = Knobs(
        size=size,
        contour=contour,
        distractors=distractors,
        distractor_length=distractor_length,
        continuity=continuity,
    )
    load = partial(_load, seed, images, held_out, **drawn)
    return Task(
        name="pathfinder",
        version=1,
        length=size * size,
        features=1,
        outputs=2,
        per="sequence",
        solved_at=0.95,
        causal=False,
        sample=partial(_sample, difficulty=contour),
        data=lambda: load()[0],
        fixed=lambda: load()[1],
        shortcuts={"majority": _apart} | {name: partial(_nearest, name=name, load=load) for name in FEATURES},
        classes=("apart", "joined"),
    )


def _least_size(dashes: int, contour: int) -> int:
    """The smallest picture with room for the dashes, and for a straight half of a long path."""
    return int(np.ceil(max(np.sqrt(dashes * PITCH * CLEAR / FULL), contour * PITCH / 2 + CLEAR)))


@cache
def _load(seed: int, images: int, held_out: int, **knobs: Unpack[Knobs]) -> tuple[Data, dict[str, Example]]:
    """What trains, and what validates and tests: pictures of three ranges of numbers."""
    count = 2 * held_out + images
    content = {"version": 1, "count": count, "seed": seed, **knobs}
    pictures = cached_arrays("pathfinder", content, partial(_draw, seed, count, **knobs))
    parts = (slice(0, held_out), slice(held_out, 2 * held_out), slice(2 * held_out, None))
    with jax.ensure_compile_time_eval():  # a shortcut may be the first to ask, within a program
        validation, test, train = (
            Data(*(jnp.asarray(pictures[name][part]) for name in Data._fields)) for part in parts
        )
        examples = jax.jit(jax.vmap(partial(_example, difficulty=knobs["contour"])))
        return train, {"validation": examples(*validation), "test": examples(*test)}


def _draw(seed: int, count: int, tell: Tell, **knobs: Unpack[Knobs]) -> Arrays:
    """The first pictures of a seed, block by block: `images`, `joined` and `distance` as in `Data`."""
    parts = []
    for first in range(0, count, BLOCK):
        tell("pictures", first, count)
        parts.append(pathfinder_images(seed, first, min(BLOCK, count - first), **knobs))
    images, joined, dots = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "joined", "dots")
    )
    pixel = np.floor(dots).astype(np.int32)
    index = pixel[:, :, 0] * knobs["size"] + pixel[:, :, 1]
    return {"images": images, "joined": joined, "distance": index[:, 1] - index[:, 0]}


def _example(image: Array, joined: Array, distance: Array, /, *, difficulty: int) -> Example:
    return Example(
        inputs=image.reshape(-1, 1).astype(jnp.float32) / 255,
        targets=joined,
        weights=jnp.ones((), jnp.float32),
        key_mask=jnp.ones(image.size, bool),
        distance=distance,
        difficulty=jnp.full((), difficulty, jnp.int32),
    )


def _sample(rng: Array, data: Data, /, *, difficulty: int) -> Example:
    index = integers_below(jax.random.bits(rng, (), jnp.uint32), data.joined.shape[0])
    return _example(*(leaf[index] for leaf in data), difficulty=difficulty)


def _apart(rng: Array, inputs: Array, /) -> Array:
    """Both answers are equally common."""
    del rng, inputs
    return jnp.zeros((), jnp.int32)


def _nearest(rng: Array, inputs: Array, /, *, name: str, load: Callable[[], tuple[Data, object]]) -> Array:
    """The answer whose training pictures have the nearest mean of a feature."""
    del rng
    means = _means(name, load()[0])
    return jnp.argmin(jnp.square(means - FEATURES[name](inputs)[None]).sum(axis=1)).astype(jnp.int32)


def _means(name: str, data: Data) -> np.ndarray:
    """The mean feature of the first pictures of either answer."""
    with jax.ensure_compile_time_eval():
        images, joined = data.images[:SEEN], np.asarray(data.joined[:SEEN])
        pictures = images.reshape(len(images), -1, 1).astype(jnp.float32) / 255
        seen = np.asarray(jax.jit(jax.vmap(FEATURES[name]))(pictures))
    return np.stack([seen[joined == answer].mean(axis=0) if (joined == answer).any() else seen[0] for answer in (0, 1)])


def _ink(inputs: Array) -> Array:
    return inputs.mean(axis=0)


def _picture(inputs: Array) -> Array:
    return inputs[:, 0]


def _dot_distance(inputs: Array) -> Array:
    """[1]: how far apart the dots are, as the spread of corners where four dark pixels meet: only dots have such."""
    size = round(inputs.size**0.5)
    dark = inputs.reshape(size, size) > 0.55
    corners = (dark[1:, 1:] & dark[1:, :-1] & dark[:-1, 1:] & dark[:-1, :-1]).astype(jnp.float32)
    count = jnp.maximum(corners.sum(), 1)
    places = jnp.arange(size - 1, dtype=jnp.float32)
    marginals = (corners.sum(axis=1), corners.sum(axis=0))
    middles = [(marginal * places).sum() / count for marginal in marginals]
    spread = [(m * jnp.square(places - middle)).sum() / count for m, middle in zip(marginals, middles, strict=True)]
    return 2 * jnp.sqrt(jnp.stack(spread).sum()).reshape(1)


FEATURES: dict[str, Callable[[Array], Array]] = {
    "ink": _ink,
    "dot_distance": _dot_distance,
    "nearest_mean": _picture,
}
