"""Hops: from a token to what stood behind it the last time, once or several times."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.sampling import latest_earlier, most_frequent_token, random_token
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require


def induction_extrapolation(*, length: PositiveInt = 256, vocabulary: PositiveInt = 16) -> Task:
    """What followed the one token that is special? It comes once somewhere, and again at the end.

        length 8, vocabulary 6: the special token is 0

        position   0   1   2   3   4   5   6   7
        inputs     3   1   0   4   4   2   5   0
        targets    ·   ·   ·   ·   ·   ·   ·   4       distance 4

    The place is uniform, the other tokens are independent and uniform. Made for tests at other lengths than those of
    the training: `evaluation: {also: [{length: 512}, {length: 1024}]}`.

    Shortcuts, with 256 tokens of 16 kinds: `chance` any other token (1/15); `previous_token` the token before the last
    (0.07); `commonest` the commonest of the others (0.09).

    Args:
        length: tokens, at least 3.
        vocabulary: tokens, the special one included; at least 3.
    Returns: the task; a class per position, asked at the last position only.
    Raises: ValueError naming the knob, what came and the bound.
    References: Gu and Dao 2023, arXiv:2312.00752, induction heads.
    """
    require(length >= 3, "length", length, "at least 3: the token, its answer, the token")
    require(vocabulary >= 3, "vocabulary", vocabulary, "at least 3: the token and two possible answers")
    others = {"first": 1, "count": vocabulary - 1}
    return Task(
        name="induction_extrapolation",
        version=1,
        length=length,
        vocabulary=vocabulary,
        features=None,
        outputs=vocabulary,
        per="position",
        metric="accuracy",
        solved_at=0.99,
        causal=True,
        sample=partial(_sample_induction, length=length, vocabulary=vocabulary),
        shortcuts={
            "chance": partial(random_token, **others),
            "previous_token": _previous_token,
            "commonest": partial(most_frequent_token, **others),
        },
    )


def k_hop(*, length: PositiveInt = 100, hops: PositiveInt = 2, letters: PositiveInt = 4) -> Task:
    """Induction several times over: from the token to what followed it last, from there again, and so on.

        length 8, 2 hops, 3 letters: 0 … 2

        position     0   1   2   3   4   5   6   7
        inputs       0   1   2   1   0   2   1   0
        one hop      ·   ·   ·   2   1   3   4   5
        targets      ·   ·   ·   ·   ·   2   1   1
        distance     ·   ·   ·   ·   ·   3   5   4       difficulty 2 wherever asked

    One hop leads from position i to one behind the latest earlier place of the same token; the row shows where to. The
    answer is the token where the last hop ends; nothing is asked where a hop leads nowhere. Tokens are independent and
    uniform; the difficulty is the number of hops.

    Shortcuts, with 100 tokens of 4 letters and 2 hops: `chance` a random letter (1/4); `previous_token` (0.36);
    `one_hop` the token where the first hop ends (0.27).

    Args:
        length: tokens, at least hops + 2.
        hops: k.
        letters: to draw from, at least 2.
    Returns: the task; a class per position.
    Raises: ValueError naming the knob, what came and the bound.
    References: Sanford et al. 2024, arXiv:2402.09268.
    """
    require(hops >= 2, "hops", hops, "at least 2: one hop is induction")
    require(letters >= 2, "letters", letters, "at least 2")
    require(length >= hops + 2, "length", length, f"at least hops + 2 = {hops + 2}")
    return Task(
        name="k_hop",
        version=1,
        length=length,
        vocabulary=letters,
        features=None,
        outputs=letters,
        per="position",
        metric="accuracy",
        solved_at=0.99,
        causal=True,
        sample=partial(_sample_hops, length=length, hops=hops, letters=letters),
        shortcuts={
            "chance": partial(random_token, first=0, count=letters),
            "previous_token": _previous_token,
            "one_hop": partial(_one_hop, letters=letters),
        },
    )


def _sample_induction(rng: Array, /, *, length: int, vocabulary: int) -> Example:
    bits = jax.random.bits(rng, (length + 1,), jnp.uint32)
    place = integers_below(bits[0], length - 2)
    positions = jnp.arange(length, dtype=jnp.int32)
    last = positions == length - 1
    inputs = jnp.where(last | (positions == place), 0, 1 + integers_below(bits[1:], vocabulary - 1))
    return make_example(inputs, jnp.full_like(inputs, inputs[place + 1]), last, distance=length - 2 - place)


def _sample_hops(rng: Array, /, *, length: int, hops: int, letters: int) -> Example:
    inputs = integers_below(jax.random.bits(rng, (length,), jnp.uint32), letters)
    hop, positions = _hop(inputs, letters), jnp.arange(length, dtype=jnp.int32)
    place = positions
    for _ in range(hops):
        place = jnp.where(place >= 0, hop[place], -1)
    return make_example(inputs, inputs[place], place >= 0, distance=positions - place, difficulty=hops)


def _hop(tokens: Array, letters: int) -> Array:
    """Where one hop leads from each position, −1 = nowhere."""
    latest = latest_earlier(tokens, letters)
    return jnp.where(latest >= 0, latest + 1, -1)


def _one_hop(rng: Array, inputs: Array, /, *, letters: int) -> Array:
    del rng
    return inputs[_hop(inputs, letters)]


def _previous_token(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.concatenate([inputs[:1], inputs[:-1]])
