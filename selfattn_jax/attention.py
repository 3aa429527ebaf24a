"""The lift: functions of one head and one sequence become functions of [B,T,H,K], by nested `vmap`.

Batch is mapped outside, then groups, then the query heads of a group with keys and values unmapped: grouped heads copy
no key. What carries no batch or head axis (a causal mask, ALiBi's distances) stays one copy under the maps.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.choosing import Explanation, Implementation, Plan, choose
from selfattn_jax.functional import masks
from selfattn_jax.functional.attend import Composition, Inspection, compose
from selfattn_jax.functional.bind import Bound, Lead, bind, is_lead, lead, signature_of
from selfattn_jax.functional.masks import Mask, as_mask
from selfattn_jax.shapes import Array, check_shapes


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Any = None,
    lengths: Array | None = None,
    segments: Array | tuple[Array, Array] | None = None,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
    rng: Array | None = None,
    implementation: Implementation = "auto",
    **pieces: Any,
) -> Array:
    """Attends with H heads over a batch of sequences, in the layout of `jax.nn.dot_product_attention`.

      y_bth = Σₛ w_bhts v_bsg        w = normalizer(score(q_h, k_g) + …, mask),  g = ⌊h / (H/G)⌋

    Args:
      query: [B,T,H,K] or [T,H,K].  key: [B,S,G,K] or [S,G,K].  value: [B,S,G,V] or [S,G,V].  G divides H.
      mask: a Mask, a predicate, a bool array [T,S] or [B|1,H|1,T,S], or `lead(array, letters)`; True = may attend.
      lengths: [B] int32: the keys at and past lengths[b] are hidden.
      segments: [B,S] int32, or ([B,T], [B,S]): a query sees the keys of its own segment.
      query_positions: [T] or [B,T] int32.  key_positions: [S] or [B,S] int32.
      rng: a typed key, for dropout and normalisers that draw; it is split per example and head.
      implementation: "dense" holds [T,S]; "rows" a block of rows at a time; "blockwise" a tile at a time, for what
        streams, without forward-mode derivatives; "auto" takes the fastest that can: `explain` tells which and why.
      **pieces: encode, score, modifiers, biases, rowwise, normalizer, dropout, aggregate: see `compose`. An array knob
        that differs from head to head or example to example says so with `lead`.

    Returns: [B,T,H,V] or [T,H,V], in value's dtype; 0 for a query that may attend to nothing.
    Raises: ValueError or TypeError naming the argument; NotImplementedError for what the form cannot compute, and why.
    References: Vaswani et al. 2017, arXiv:1706.03762.
    """
    return inspect(
        query,
        key,
        value,
        want=(),
        mask=mask,
        lengths=lengths,
        segments=segments,
        query_positions=query_positions,
        key_positions=key_positions,
        rng=rng,
        implementation=implementation,
        **pieces,
    ).output


def inspect(
    query: Array,
    key: Array,
    value: Array,
    *,
    want: Collection[str] = ("weights",),
    mask: Any = None,
    lengths: Array | None = None,
    segments: Array | tuple[Array, Array] | None = None,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
    rng: Array | None = None,
    implementation: Implementation = "auto",
    **pieces: Any,
) -> Inspection:
    """Attends like `attention` and returns what happened inside as well; the output is the same.

    Args:
      want: of "weights" [B,H,T,S], "scores" [B,H,T,S], "log_normalizer" [B,H,T] and "entropy" [B,H,T].
      The other arguments are those of `attention`.

    Returns: an Inspection; what was not asked for is None.
    Raises: as `attention`.
    """
    _check_ranks(query, key, value)
    data = {"lengths": lengths, "segments": segments}
    context = lifted_context(
        key, pieces, mask=mask, query_positions=query_positions, key_positions=key_positions, **data
    )

    choice = _choice(implementation, context, query, key, want)
    if choice.implementation != "blockwise":
        return _inspect_as(choice.plan, tuple(want), None, context, query, key, value, rng)
    # Tiles are a loop, which is compiled even where nothing else is: once, and not at every call and in every layer.
    # A rate of dropout that is a number must stay one.
    rate = context.composition.dropout
    rate = float(rate) if isinstance(rate, (int, float)) else None
    return _inspect_compiled(choice.plan, tuple(want), rate, context, query, key, value, rng)


def _inspect_as(
    plan: Plan,
    want: tuple[str, ...],
    rate: float | None,
    context: "LiftedContext",
    query: Array,
    key: Array,
    value: Array,
    rng: Array | None,
) -> Inspection:
    def head(context: LiftedContext, query: Array, key: Array, value: Array, rng: Array | None) -> Inspection:
        composition = context.composition if rate is None else context.composition._replace(dropout=rate)
        query_positions, key_positions = plain(context.query_positions), plain(context.key_positions)
        return plan.attend(query, key, value, composition, query_positions, key_positions, rng, want)

    out_axes = Inspection(1, 0, 0, 0, 0)  # pyright: ignore[reportArgumentType]
    return lift(head, context, query, key, value, rng, out_axes=out_axes, at_once=plan.at_once)


_inspect_compiled = jax.jit(_inspect_as, static_argnums=(0, 1, 2))


def explain(
    query: Any,
    key: Any,
    value: Any,
    *,
    want: Collection[str] = (),
    implementation: Implementation = "auto",
    **settings: Any,
) -> Explanation:
    """Which form `attention` takes for these arguments, in what pieces, and why; nothing is computed.

    Args:
      query: [B,T,H,K] or [T,H,K].  key: [B,S,G,K] or [S,G,K].  value: [B,S,G,V] or [S,G,V]. Arrays, or anything that
        has a shape and a dtype.
      The other arguments are those of `inspect`.

    Returns: an Explanation: data, and a few lines when it is printed.
    Raises: as `attention`.
    """
    _check_ranks(query, key, value)
    settings.pop("rng", None)
    data = {name: settings.pop(name) for name in _DATA if name in settings}
    return _choice(implementation, lifted_context(key, settings, **data), query, key, want)


_DATA = ("mask", "lengths", "segments", "query_positions", "key_positions")


def _choice(
    implementation: Implementation, context: "LiftedContext", query: Array, key: Array, want: Collection[str]
) -> Explanation:
    """The form for arrays whose ranks are right."""
    batch = query.shape[0] if len(query.shape) == 4 else 1
    sizes = batch * query.shape[-2], query.shape[-3], key.shape[-3]
    default = context.query_positions is None and context.key_positions is None
    return choose(implementation, context.composition, *sizes, want, default=default)


class LiftedContext(NamedTuple):
    """What `lift` maps beside query, key and value: a composition, and the positions with the axes that they carry."""

    composition: Composition
    query_positions: Lead | None
    key_positions: Lead | None


def lifted_context(
    key: Array,
    pieces: Mapping[str, Any],
    *,
    mask: Any = None,
    lengths: Array | None = None,
    segments: Array | tuple[Array, Array] | None = None,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
) -> LiftedContext:
    """Gathers what `attention` takes beside query, key and value; `pieces` are those of `compose` but the mask."""
    batch, sources = key.shape[0] if key.ndim == 4 else 1, key.shape[-3]
    joined = _join(_as_mask(mask), _data_mask(lengths, segments, batch, sources))
    return LiftedContext(
        compose(mask=joined, **pieces),
        _as_positions("query_positions", query_positions),
        _as_positions("key_positions", key_positions),
    )


def mix(
    mixer: Callable,
    query: Array,
    key: Array,
    value: Array,
    *,
    key_mask: Array | None = None,
    causal: bool | None = None,
    rng: Array | None = None,
) -> Array:
    """Lifts a mixer of one head and one sequence over heads and batch.

    Args:
      mixer: a function or piece of query [T,K], key [S,K], value [S,V]; → [T,V].
      query: [B,T,H,K] or [T,H,K].  key: [B,S,G,K] or [S,G,K].  value: [B,S,G,V] or [S,G,V].
      key_mask: [B,S] or [S] bool, True = may be attended to; for a mixer that has that knob.
      causal: whether a query sees its past alone, for a mixer that has that knob; None = its default.
      rng: a typed key, split over examples and heads, for a mixer that draws; None = it draws nothing.

    Returns: [B,T,H,V] or [T,H,V].
    Raises: ValueError for a key_mask or causality that the mixer has no knob for.
    """
    situated = _situated(mixer, causal)
    draws = rng if "rng" in signature_of(situated.function).knobs else None

    def head(context: tuple, query: Array, key: Array, value: Array, rng: Array | None) -> Array:
        mixer, key_mask = context
        drawn = {} if rng is None else {"rng": rng}
        return bind(mixer, **_hidden(mixer, plain(key_mask)), **drawn)(query, key, value)

    return lift(head, (situated, _by_example(key_mask)), query, key, value, draws, out_axes=1)


def mix_weights(
    weights: Callable, query: Array, key: Array, *, key_mask: Array | None = None, causal: bool | None = None
) -> Array:
    """Lifts a mixer's effective attention matrix over heads and batch; the arguments are those of `mix`.

    Returns: [B,H,T,S] or [H,T,S].
    """

    def head(context: tuple, query: Array, key: Array, value: Array, rng: Array | None) -> Array:
        weights, key_mask = context
        return bind(weights, **_hidden(weights, plain(key_mask)))(query, key)

    return lift(head, (_situated(weights, causal), _by_example(key_mask)), query, key, key, None, out_axes=0)


def mix_vectors(mixer: Callable, inputs: Array, *, key_mask: Array | None = None, causal: bool | None = None) -> Array:
    """Lifts a mixer of the vectors of one sequence over the batch.

    Args:
      mixer: a function or piece of inputs [T,D]; → [T,D].
      inputs: [B,T,D] or [T,D].
      key_mask: [B,T] or [T] bool, True where a position holds data; for a mixer that has that knob.
      causal: as for `mix`.

    Returns: [B,T,D] or [T,D].
    Raises: ValueError for a key_mask or causality that the mixer has no knob for.
    """
    situated = _situated(mixer, causal)

    def sequence(inputs: Array, key_mask: Array | None) -> Array:
        return bind(situated, **_hidden(situated, key_mask))(inputs)

    if inputs.ndim == 2:
        return sequence(inputs, key_mask)
    if key_mask is not None:
        key_mask = jnp.broadcast_to(key_mask, inputs.shape[:2])
    return jax.vmap(sequence)(inputs, key_mask)


def _situated(mixer: Callable, causal: bool | None) -> Bound:
    """A mixer that has been told about causality, if it asks."""
    bound = bind(mixer)
    if causal is None:
        return bound
    if "causal" not in signature_of(bound.function).knobs:
        raise ValueError(f"{bound.__name__} is causal, or not, by nature: leave causal out")
    return bind(bound, causal=causal)


def _hidden(mixer: Bound, key_mask: Array | None) -> dict[str, Array]:
    """The knob that hides keys, if any are hidden."""
    if key_mask is None:
        return {}
    if "key_mask" not in signature_of(mixer.function).knobs:
        raise ValueError(
            f"{mixer.__name__} cannot hide positions, and a key_mask was given: take sequences without padding, or "
            "another mixer"
        )
    return {"key_mask": key_mask}


def lift(
    head: Callable,
    context: Any,
    query: Array,
    key: Array,
    value: Array,
    rng: Array | None,
    *,
    out_axes: Any,
    at_once: int | None = None,
) -> Any:
    """Maps a function of one head and one sequence over batch, groups and the heads of a group.

    Args:
      head: (context, query [T,K], key [S,K], value [S,V], rng or None) → a pytree.
      context: a pytree whose array knobs say with `lead` which of B and H they carry.
      query: [B,T,H,K] or [T,H,K].  key: [B,S,G,K] or [S,G,K].  value: [B,S,G,V] or [S,G,V].
      rng: a typed key or None.
      out_axes: where the head axis goes in what one head returns, as for `vmap`.
      at_once: how many heads of how many examples are computed side by side, at most; None = all.

    Returns: what `head` returns, with the axis H (at `out_axes`) and, if the inputs have it, B (first).
    Raises: ValueError naming the argument whose shape is off.
    """
    _check_ranks(query, key, value)
    batched = query.ndim == 4
    if not batched:
        query, key, value = query[None], key[None], value[None]
    sizes = check_shapes(query=(query, "BTHK"), key=(key, "BSGK"), value=(value, "BSGV"))
    heads, groups = sizes["H"], sizes["G"]
    if heads % groups:
        raise ValueError(f"key has G={groups} heads, which must divide query's H={heads}")
    shape = (sizes["B"], groups, heads // groups)
    # Heads go first, in one copy: a map over any other axis makes its own.
    query, key, value = (jnp.moveaxis(array, 2, 1) for array in (query, key, value))
    query = query.reshape(*shape, *query.shape[2:])
    rngs = None if rng is None else jax.random.split(rng, shape)
    context = jax.tree.map(lambda knob: _split_heads(knob, sizes, groups), context, is_leaf=is_lead)
    parts = _side_by_side(shape, at_once)
    per_group = map_letter(head, "h", (0, None, None, 0), at_once=parts[2])
    per_example = map_letter(per_group, "G", (0, 0, 0, 0), at_once=parts[1])
    per_batch = map_letter(per_example, "B", (0, 0, 0, 0), at_once=parts[0])
    result = per_batch(context, query, key, value, rngs)
    merged = jax.tree.map(
        lambda axis, part: jax.tree.map(lambda array: jnp.moveaxis(_merge_heads(array), 1, axis + 1), part),
        out_axes,
        result,
        is_leaf=lambda axis: isinstance(axis, int),
    )
    return merged if batched else jax.tree.map(lambda array: array[0], merged)


def _side_by_side(shape: tuple[int, int, int], at_once: int | None) -> tuple[int | None, ...]:
    """How many of B, G and h are mapped at once, so that their product is at most `at_once`; whole parts only."""
    if at_once is None:
        return None, None, None
    counts = []
    for size in reversed(shape):
        count = max(part for part in range(1, max(min(size, at_once), 1) + 1) if size % part == 0 or size == 0)
        counts.append(count)
        at_once //= count
    return tuple(reversed(counts))


def map_letter(function: Callable, letter: str, in_axes: tuple, *, at_once: int | None = None) -> Callable:
    """`vmap` over one letter, which it takes off the array knobs that carry it; `at_once` of them, part after part."""

    def mapped(context: Any, *arrays: Array | None) -> Any:
        knobs, structure = jax.tree.flatten(context, is_leaf=is_lead)
        given = [*knobs, *arrays]
        axes = [knob.letters.index(letter) if is_lead(knob) and letter in knob.letters else None for knob in knobs]
        axes += [None if array is None else axis for array, axis in zip(arrays, in_axes, strict=True)]
        moving = [
            jnp.moveaxis(plain(array), axis, 0) for array, axis in zip(given, axes, strict=True) if axis is not None
        ]

        def one(parts: list) -> Any:
            rest, found = iter(parts), list(given)
            for at, axis in enumerate(axes):
                if axis is not None:
                    part, whole = next(rest), given[at]
                    found[at] = Lead(part, whole.letters.replace(letter, "")) if is_lead(whole) else part
            return function(structure.unflatten(found[: len(knobs)]), *found[len(knobs) :])

        if moving[0].shape[0] == 1:
            # A slice under `vmap` is a gather, whose bounds are checked and whose window is copied once more.
            return jax.tree.map(lambda array: array[None], one([array[0] for array in moving]))
        if at_once is None or at_once >= moving[0].shape[0]:
            return jax.vmap(one)(moving)
        return jax.lax.map(one, moving, batch_size=None if at_once == 1 else at_once)

    return mapped


def _split_heads(knob: Any, sizes: dict[str, int], groups: int) -> Any:
    """Splits the axis H of an array knob in groups G and heads of a group h, and checks B, H, T and S."""
    if not is_lead(knob):
        return knob
    shape = jnp.shape(knob.array)
    for letter, size in zip(knob.letters, shape, strict=False):
        if sizes[letter] != size:
            raise ValueError(
                f"an array knob with axes {knob.letters!r} must have {letter}={sizes[letter]}, got {list(shape)}"
            )
    if "H" not in knob.letters:
        return knob
    axis = knob.letters.index("H")
    array = jnp.reshape(knob.array, (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :]))
    return Lead(array, knob.letters.replace("H", "Gh"))


def _merge_heads(array: Array) -> Array:
    """[B,G,h,…] → [B,H,…]"""
    return array.reshape(array.shape[0], array.shape[1] * array.shape[2], *array.shape[3:])


def _check_ranks(query: Array, key: Array, value: Array) -> None:
    rank = 4 if query.ndim == 4 else 3
    for name, array, letters in (("query", query, "T,H,K"), ("key", key, "S,G,K"), ("value", value, "S,G,V")):
        if array.ndim != rank:
            raise ValueError(
                f"{name} must be [B,{letters}] or, without a batch, [{letters}], got shape {list(array.shape)}: "
                "query, key and value have a batch axis together or not at all"
            )


def plain(knob: Any) -> Any:
    """An array without what says its axes."""
    return knob.array if is_lead(knob) else knob


def _by_example(array: Array | None) -> Lead | None:
    if array is None:
        return None
    return lead(array, "BS" if array.ndim == 2 else "S")


def _as_positions(name: str, positions: Array | None) -> Lead | None:
    if positions is None:
        return None
    if positions.ndim not in (1, 2):
        raise ValueError(f"{name} must be [T] or [B,T] int32 (S for keys), got shape {list(positions.shape)}")
    letters = "T" if name == "query_positions" else "S"
    return lead(positions, letters if positions.ndim == 1 else "B" + letters)


def _as_mask(mask: Any) -> Mask | None:
    """A mask as the lift wants it; a bool array [B|1,H|1,T,S] loses its axes of size 1, which say "shared"."""
    if mask is None or callable(mask) or is_lead(mask) or jnp.ndim(mask) != 4:
        return None if mask is None else as_mask(mask)
    kept = [letter for letter, size in zip("BH", mask.shape, strict=False) if size != 1]
    shape = [size for size in mask.shape[:2] if size != 1] + list(mask.shape[2:])
    return as_mask(lead(jnp.reshape(mask, shape), "".join(kept) + "TS"))


def _data_mask(lengths: Array | None, segments: Any, batch: int, sources: int) -> Mask | None:
    mask = None
    if lengths is not None:
        if lengths.shape != (batch,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise ValueError(f"lengths must be int32 [B={batch}], got {lengths.dtype} {list(lengths.shape)}")
        valid = jnp.arange(sources, dtype=jnp.int32)[None, :] < lengths.astype(jnp.int32)[:, None]
        mask = bind(masks.padding, key_valid=lead(valid, "BS"))
    if segments is not None:
        query_segments, key_segments = segments if isinstance(segments, tuple) else (segments, segments)
        same = bind(
            masks.segments,
            query_segments=lead(query_segments, "BT"[2 - query_segments.ndim :]),
            key_segments=lead(key_segments, "BS"[2 - key_segments.ndim :]),
        )
        mask = _join(mask, same)
    return mask


def _join(first: Any, second: Any) -> Any:
    return first & second if first is not None and second is not None else first if second is None else second
