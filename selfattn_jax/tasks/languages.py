"""Languages: what a string has left open, or stored, must come back."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, Fraction, PositiveInt
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require, unit_interval

BRACKETS = ("()", "[]", "{}", "<>")


def dyck(*, length: PositiveInt = 64, kinds: PositiveInt = 2, depth: PositiveInt = 3) -> Task:
    """A bracket closes next: of what kind is it?

        length 10, kinds 2, depth 3; the tokens of ( [ ) ] are 1 2 3 4

        position     0   1   2   3   4   5   6   7   8   9
        bracket      (   [   ]   [   (   )   ]   )   [   ]
        inputs       1   2   4   2   1   3   4   3   2   4
        targets      ·   1   ·   ·   0   1   0   ·   1   ·
        distance     ·   0   ·   ·   0   2   6   ·   0   ·
        difficulty   ·   2   ·   ·   3   2   1   ·   1   ·

    Where no bracket is open one opens, where `depth` are open one closes, and otherwise either happens with
    probability 1/2. Kinds are uniform, and a closing bracket has the kind of the one that it closes. The string may end
    before all are closed. Asked is the kind, 0 … kinds − 1, wherever the next bracket closes: what closes is known from
    the brackets before, which one opens is not. The distance reaches from the target back to the bracket that will be
    closed, and is 0 where that stands at the target itself; the difficulty is the number of open brackets.

    Shortcuts, with 64 brackets of 2 kinds, 3 deep: `chance` any kind (1 / kinds = 0.5); `latest_open` the kind of the
    last bracket that opened (0.84). With a depth of 1 the last one that opened is the answer.

    Args:
        length: brackets, at least 2.
        kinds: kinds of brackets, at least 2.
        depth: brackets that may be open, at least 1.
    Returns: the task; a class per position, asked where the next bracket closes.
    Raises: ValueError naming the knob, what came and the bound.
    References: Hewitt et al. 2020, arXiv:2010.07515; Yao et al. 2021, arXiv:2105.11115.
    """
    require(length >= 2, "length", length, "at least 2: a bracket that closes another")
    require(kinds >= 2, "kinds", kinds, "at least 2: one kind leaves nothing to ask")
    require(depth >= 1, "depth", depth, "at least 1")
    opening, closing = (tuple(_bracket(kind, side) for kind in range(kinds)) for side in (0, 1))
    return Task(
        name="dyck",
        version=1,
        length=length,
        vocabulary=2 * kinds + 1,
        outputs=kinds,
        per="position",
        causal=True,
        sample=partial(_sample_dyck, length=length, kinds=kinds, depth=depth),
        shortcuts={
            "chance": partial(_chance, outputs=kinds),
            "latest_open": partial(_latest_open, kinds=kinds),
        },
        alphabet=("·", *opening, *closing),
        classes=closing,
    )


def flip_flop(*, length: PositiveInt = 64, ignore: Fraction = 0.8) -> Task:
    """A bit is written, others are to be ignored, and the one written last is read.

        length 12: an instruction (1 write, 2 read, 3 ignore) and a bit (4 is 0, 5 is 1) take turns

                     w 1     i 0     r 1     w 0     i 1     r 0
        position     0   1   2   3   4   5   6   7   8   9  10  11
        inputs       1   5   3   4   2   5   1   4   3   5   2   4
        targets      ·   ·   ·   ·   1   ·   ·   ·   ·   ·   0   ·
        distance     ·   ·   ·   ·   3   ·   ·   ·   ·   ·   3   ·
        difficulty   ·   ·   ·   ·   1   ·   ·   ·   ·   ·   1   ·

    The first instruction writes and the last one reads; of the others a share `ignore` is to be ignored, and the rest
    write and read evenly. The bits written and ignored are uniform; behind a read stands the bit that was written last,
    which is asked at the read. The distance reaches from the read back to that bit's writing; the difficulty is the
    number of ignored bits in between.

    Shortcuts, with 32 instructions: `chance` either bit (1/2); `latest_bit` the last bit, whatever its instruction
    (0.61). With nothing ignored the last bit is the answer.

    Args:
        length: tokens, two for an instruction; even, at least 4.
        ignore: how likely an instruction is to be ignored, at least 0 and below 1.
    Returns: the task; one of two classes per position, asked at the reads.
    Raises: ValueError naming the knob, what came and the bound.
    References: Liu et al. 2023, arXiv:2306.00946.
    """
    require(length % 2 == 0, "length", length, "even: each instruction has its bit")
    require(length >= 4, "length", length, "at least 4: one write and one read")
    require(0 <= ignore < 1, "ignore", ignore, "at least 0 and below 1")
    return Task(
        name="flip_flop",
        version=1,
        length=length,
        vocabulary=6,
        outputs=2,
        per="position",
        causal=True,
        sample=partial(_sample_flip_flop, length=length, ignore=ignore),
        shortcuts={"chance": partial(_chance, outputs=2), "latest_bit": _latest_bit},
        alphabet=("·", "w", "r", "i", "0", "1"),
        classes=("0", "1"),
    )


def _bracket(kind: int, side: int) -> str:
    """A bracket as a person writes it; kinds for which there is no sign of their own have a number."""
    return BRACKETS[kind][side] if kind < len(BRACKETS) else "()"[side] + str(kind)


def _sample_dyck(rng: Array, /, *, length: int, kinds: int, depth: int) -> Example:
    bits = jax.random.bits(rng, (2, length), jnp.uint32)
    after = _nesting(bits[0], depth)
    before = jnp.concatenate([jnp.zeros(1, jnp.int32), after[:-1]])
    opens = after > before
    partner = _partner(jnp.maximum(before, after))
    drawn = integers_below(bits[1], kinds)
    kind = jnp.where(opens, drawn, drawn[partner])

    positions = jnp.arange(length, dtype=jnp.int32)
    return make_example(
        1 + kind + kinds * (~opens).astype(jnp.int32),
        jnp.roll(kind, -1),
        jnp.roll(~opens, -1) & (positions < length - 1),
        distance=positions - jnp.roll(partner, -1),
        difficulty=after,
    )


def _nesting(bits: Array, depth: int) -> Array:
    """How many brackets are open after each of them, for random bits [T].

    A walk of fair steps up and down, folded at 0 and at `depth`, has to turn back there and is a fair walk in between.
    """
    walk = jnp.cumsum(1 - 2 * integers_below(bits, 2), dtype=jnp.int32)
    return depth - jnp.abs(walk % (2 * depth) - depth)


def _partner(level: Array) -> Array:
    """For each closing bracket the position of the one that it closes; level [T] counts what is open, itself included.

    Brackets of one level open and close by turns. Sorted by level, and by position within a level, each closing bracket
    thus comes right behind its partner.
    """
    length = level.shape[0]
    order = jnp.sort(level * length + jnp.arange(length, dtype=jnp.int32)) % length
    return jnp.zeros_like(level).at[order].set(jnp.roll(order, 1))


def _sample_flip_flop(rng: Array, /, *, length: int, ignore: float) -> Example:
    pairs = length // 2
    bits = jax.random.bits(rng, (2, pairs), jnp.uint32)
    chance = unit_interval(bits[0])
    instruction = jnp.where(chance < ignore, 3, jnp.where(chance < (1 + ignore) / 2, 1, 2)).at[0].set(1).at[-1].set(2)
    reads, ignores = instruction == 2, instruction == 3

    order = jnp.arange(pairs, dtype=jnp.int32)
    writer = jax.lax.cummax(jnp.where(instruction == 1, order, 0))
    drawn = integers_below(bits[1], 2)
    stored = drawn[writer]
    ignored = jnp.cumsum(ignores, dtype=jnp.int32)
    return make_example(
        _take_turns(instruction, 4 + jnp.where(reads, stored, drawn)),
        jnp.repeat(stored, 2),
        _take_turns(reads, jnp.zeros_like(reads)),
        distance=jnp.repeat(2 * (order - writer) - 1, 2),
        difficulty=jnp.repeat(ignored - ignored[writer], 2),
    )


def _take_turns(evens: Array, odds: Array) -> Array:
    return jnp.stack([evens, odds], axis=1).reshape(-1)


def _chance(rng: Array, inputs: Array, /, *, outputs: int) -> Array:
    return integers_below(jax.random.bits(rng, inputs.shape, jnp.uint32), outputs)


def _latest_open(rng: Array, inputs: Array, /, *, kinds: int) -> Array:
    del rng
    positions = jnp.arange(inputs.shape[0], dtype=jnp.int32)
    return inputs[jax.lax.cummax(jnp.where(inputs <= kinds, positions, 0))] - 1


def _latest_bit(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.roll(inputs, 1) - 4
