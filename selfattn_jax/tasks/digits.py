"""Digits: real handwriting, read pixel by pixel."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.shapes import Array
from selfattn_jax.tasks.task import Example, Task, integers_below

HELD_OUT = 300  # images for validation, and as many for the test; the other 1,197 train


def digits() -> Task:
    """An 8×8 image of a handwritten digit comes as a sequence of 64 pixels, and the answer is the digit.

          ░▓▒           position   0    1    2    3    4    5    6    7   …   63
          ▓█▒█░         ink        0    0   .31  .81  .56  .06   0    0   …    0        target 0
         ░█  ▓▒
         ░▓  ▒▒         row by row from the top left, ink from 0 to 1
         ░▒  ▒▒
         ░▓  ▓▒
          █░▒▓
          ▒▓▒

    The 1,797 images are split once and for all, in equal shares of each digit: 1,197 to train, 300 for validation,
    300 for the test. Training draws images uniformly. No pixel is asked about, so distances are undefined.

    Shortcuts: `majority` the commonest digit (0.10); `nearest_histogram` the digit whose mean of sorted pixels is
    nearest, all that is left when positions are ignored (0.20); `nearest_mean` the digit whose mean image is nearest
    (0.90), which needs positions but no attention.

    Returns: the task; a class per sequence.
    Raises: ImportError saying what to install, when scikit-learn is missing.
    References: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits; scikit-learn, load_digits.
    """
    images, labels = _load()
    train, validation, test = _split(labels)
    by_digit = [images[train][labels[train] == digit, :, 0] for digit in range(10)]
    means = jnp.asarray([pixels.mean(axis=0) for pixels in by_digit])
    histograms = jnp.asarray([np.sort(pixels).mean(axis=0) for pixels in by_digit])
    return Task(
        name="digits",
        version=1,
        length=64,
        features=1,
        outputs=10,
        per="sequence",
        solved_at=0.95,
        causal=False,
        sample=partial(_sample, examples=_examples(images[train], labels[train])),
        shortcuts={
            "majority": partial(_always, digit=int(np.argmax([len(pixels) for pixels in by_digit]))),
            "nearest_histogram": partial(_nearest_histogram, means=histograms),
            "nearest_mean": partial(_nearest_mean, means=means),
        },
        fixed={
            "validation": _examples(images[validation], labels[validation]),
            "test": _examples(images[test], labels[test]),
        },
    )


def _load() -> tuple[np.ndarray, np.ndarray]:
    """Images [N,64,1] float32 with ink from 0 to 1, and labels [N] int32."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('digits needs scikit-learn: pip install "selfattn_jax[data]"') from error
    pixels, labels = load_digits(return_X_y=True)
    return (np.asarray(pixels, np.float32) / 16)[..., None], np.asarray(labels, np.int32)


def _split(labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices that train, validate and test: every third image or so of a row sorted by digit, shuffled within."""
    shuffled = np.lexsort((np.random.default_rng(0).random(labels.size), labels))
    held_out = np.arange(2 * HELD_OUT) * labels.size // (2 * HELD_OUT)
    return np.delete(shuffled, held_out), shuffled[held_out[0::2]], shuffled[held_out[1::2]]


def _examples(images: np.ndarray, labels: np.ndarray) -> Example:
    return Example(
        inputs=jnp.asarray(images),
        targets=jnp.asarray(labels),
        weights=jnp.ones(labels.shape, jnp.float32),
        key_mask=jnp.ones(images.shape[:2], bool),
        distance=jnp.zeros(labels.shape, jnp.int32),
        difficulty=jnp.zeros(labels.shape, jnp.int32),
    )


def _sample(rng: Array, /, *, examples: Example) -> Example:
    index = integers_below(jax.random.bits(rng, (), jnp.uint32), examples.targets.shape[0])
    return jax.tree.map(lambda leaf: leaf[index], examples)


def _always(rng: Array, inputs: Array, /, *, digit: int) -> Array:
    del rng, inputs
    return jnp.full((), digit, jnp.int32)


def _nearest_histogram(rng: Array, inputs: Array, /, *, means: Array) -> Array:
    return _nearest_mean(rng, jnp.sort(inputs, axis=0), means=means)


def _nearest_mean(rng: Array, inputs: Array, /, *, means: Array) -> Array:
    del rng
    return jnp.argmin(jnp.square(means - inputs[None, :, 0]).sum(axis=1)).astype(jnp.int32)
