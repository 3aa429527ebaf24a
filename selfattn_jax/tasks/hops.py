"""Hops: from a token to what followed the same one before, over any length and more than once."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.letters import letters_alphabet
from selfattn_jax.tasks.sampling import latest_earlier, most_frequent_so_far, most_frequent_token, random_token
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require


def induction_extrapolation(*, length: PositiveInt = 256, vocabulary: PositiveInt = 16) -> Task:
    """The last token is always the same one, which has stood in the sequence once before: what followed it then?

        length 10, vocabulary 8, the trigger is 0

        position   0   1   2   3   4   5   6   7   8   9
        inputs     3   7   0   5   1   6   6   3   7   0
        targets    ·   ·   ·   ·   ·   ·   ·   ·   ·   5
        distance   ·   ·   ·   ·   ·   ·   ·   ·   ·   6

    The place of the first trigger is uniform, the other tokens are independent and uniform. Unlike in `induction`, the
    trigger is the same in all sequences, so that a recurrent model needs but to take note of what comes behind it,
    however long the sequence: a model that has learned one length is to be judged on others.

    Shortcuts, with 256 tokens of 16 kinds: `chance` any token but the trigger (1 / (vocabulary − 1) = 0.067);
    `previous_token` the token before the last (0.070); `most_frequent` the commonest token but the trigger (0.093).

    Args:
        length: tokens, at least 3.
        vocabulary: tokens to draw from, at least 3.
    Returns: the task; a class per position, asked at the last position only.
    Raises: ValueError naming the knob, what came and the bound.
    References: Gu and Dao 2023, arXiv:2312.00752.
    """
    require(length >= 3, "length", length, "at least 3: trigger, answer, trigger")
    require(vocabulary >= 3, "vocabulary", vocabulary, "at least 3: a trigger and two possible answers")
    others = {"first": 1, "count": vocabulary - 1}
    alphabet = ("?", *map(str, range(1, vocabulary)))
    return Task(
        name="induction_extrapolation",
        version=1,
        length=length,
        vocabulary=vocabulary,
        outputs=vocabulary,
        per="position",
        causal=True,
        sample=partial(_sample_induction_extrapolation, length=length, vocabulary=vocabulary),
        shortcuts={
            "chance": partial(random_token, **others),
            "previous_token": _previous_token,
            "most_frequent": partial(most_frequent_token, **others),
        },
        alphabet=alphabet,
        classes=alphabet,
    )


def k_hop(*, length: PositiveInt = 100, hops: PositiveInt = 2, letters: PositiveInt = 4) -> Task:
    """A hop leads from a letter to the one that followed the last time: where do several hops lead?

        length 8, 2 hops, 4 letters

        position   0   1   2   3   4   5   6   7
        letter     b   d   c   a   b   d   a   b
        inputs     1   3   2   0   1   3   0   1
        one hop    ·   ·   ·   ·   1   2   4   5       the positions to which each hop leads
        two hops   ·   ·   ·   ·   ·   ·   1   2
        targets    ·   ·   ·   ·   ·   ·   3   2
        distance   ·   ·   ·   ·   ·   ·   5   5       difficulty 2 where asked

    The letters are uniform and independent. A hop from position i leads behind the latest earlier position of the same
    letter, so at most to i itself, where it stays if the letter before is the same. Asked are the positions from which
    all hops lead somewhere. The distance reaches from a target back to where the last hop leads, and may be 0; the
    difficulty is the number of hops. One hop is what `induction` asks for; with each layer of attention the hops may
    double, so that a depth that grows with log₂ hops is enough.

    Shortcuts, with 100 letters of 4 kinds and 2 hops: `chance` a random letter (1 / letters = 0.25); `previous_token`
    the letter before (0.36); `most_frequent` the commonest letter so far (0.34); and, with more than one hop, `one_hop`
    where a single hop leads (0.27), which is right just where it stays.

    Args:
        length: letters in a sequence, at least 2.
        hops: from each target, at least 1.
        letters: to draw from, at least 2.
    Returns: the task; a class per position, asked where all hops lead somewhere.
    Raises: ValueError naming the knob, what came and the bound.
    References: Sanford, Hsu and Telgarsky 2024, arXiv:2402.09268.
    """
    require(length >= 2, "length", length, "at least 2: a letter that comes back")
    require(hops >= 1, "hops", hops, "at least 1")
    require(letters >= 2, "letters", letters, "at least 2")
    shortcuts = {
        "chance": partial(random_token, first=0, count=letters),
        "previous_token": _token_before,
        "most_frequent": partial(most_frequent_so_far, first=0, count=letters),
    }
    if hops > 1:
        shortcuts["one_hop"] = partial(_one_hop, letters=letters)
    alphabet = letters_alphabet(letters)[1:]  # nothing is padded
    return Task(
        name="k_hop",
        version=1,
        length=length,
        vocabulary=letters,
        outputs=letters,
        per="position",
        causal=True,
        sample=partial(_sample_k_hop, length=length, hops=hops, letters=letters),
        shortcuts=shortcuts,
        alphabet=alphabet,
        classes=alphabet,
    )


def _sample_induction_extrapolation(rng: Array, /, *, length: int, vocabulary: int) -> Example:
    bits = jax.random.bits(rng, (length + 1,), jnp.uint32)
    place = integers_below(bits[0], length - 2)
    others = 1 + integers_below(bits[1:], vocabulary - 1)
    inputs = others.at[place].set(0).at[-1].set(0)
    asked = jnp.arange(length, dtype=jnp.int32) == length - 1
    targets = jnp.broadcast_to(inputs[place + 1], (length,))
    return make_example(inputs, targets, asked, distance=length - 2 - place)


def _sample_k_hop(rng: Array, /, *, length: int, hops: int, letters: int) -> Example:
    inputs = integers_below(jax.random.bits(rng, (length,), jnp.uint32), letters)
    positions = jnp.arange(length, dtype=jnp.int32)
    leads_to = _hop(inputs, letters)

    def follow(_: int, place: Array) -> Array:
        return jnp.where(place < 0, -1, leads_to[place])

    place = jax.lax.fori_loop(0, hops, follow, positions)
    asked = place >= 0
    return make_example(inputs, inputs[place], asked, distance=positions - place, difficulty=hops)


def _hop(inputs: Array, letters: int) -> Array:
    """Where a hop leads from each position; −1 = nowhere."""
    before = latest_earlier(inputs, letters)
    return jnp.where(before < 0, -1, before + 1)


def _previous_token(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.full_like(inputs, inputs[-2])


def _token_before(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.roll(inputs, 1)


def _one_hop(rng: Array, inputs: Array, /, *, letters: int) -> Array:
    del rng
    return inputs[_hop(inputs, letters)]
