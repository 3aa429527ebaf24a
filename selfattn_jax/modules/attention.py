"""Flax NNX modules of attention: parameters around the functions. They take functions and modules, never names."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax.numpy as jnp
from flax import nnx

from selfattn_jax.attention import attention, inspect, mix, mix_weights
from selfattn_jax.choosing import Implementation
from selfattn_jax.functional import masks
from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.functional.bind import Bound, bind, lead, signature_of
from selfattn_jax.functional.masks import as_mask
from selfattn_jax.functional.normalizers import softmax
from selfattn_jax.functional.scores import scaled_dot
from selfattn_jax.heads import Heads
from selfattn_jax.modules.pieces import Fixed
from selfattn_jax.shapes import Array

Piece = Callable | nnx.Module
Positions = Array | tuple[Array | None, Array | None] | None  # of queries and keys alike, or of each


class HeadMixer(Protocol):
    """What mixes positions by query, key and value of every head."""

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Positions = None,
        inputs: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        """query [B,T,H,K], key [B,S,G,K], value [B,S,G,V] → [B,T,H,V]."""
        ...

    def weights(
        self,
        query: Array,
        key: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Positions = None,
        inputs: Array | None = None,
    ) -> Array | None:
        """The (effective) attention weights [B,H,T,S], or None."""
        ...


def as_module(piece: Piece) -> nnx.Module:
    """A piece as a module: a function or bound piece becomes `Fixed`."""
    return piece if isinstance(piece, nnx.Module) else Fixed(bind(piece))


class Attention(nnx.Module):
    """A composition as a mixer: (query [B,T,H,K], key [B,S,G,K], value [B,S,G,V]) → [B,T,H,V].

    Every slot takes a function, a bound piece, or a module that gives one when called (`modules.pieces`).
    """

    def __init__(
        self,
        *,
        encode: Sequence[Piece] = (),
        score: Piece = scaled_dot,
        modifiers: Sequence[Piece] = (),
        biases: Sequence[Piece] = (),
        rowwise: Sequence[Piece] = (),
        mask: Piece | None = None,
        normalizer: Piece = softmax,
        dropout: float = 0.0,
        aggregate: Piece = matmul,
        implementation: Implementation = "auto",
    ):
        self.encode = nnx.List([as_module(piece) for piece in encode])
        self.score = as_module(score)
        self.modifiers = nnx.List([as_module(piece) for piece in modifiers])
        self.biases = nnx.List([as_module(piece) for piece in biases])
        self.rowwise = nnx.List([as_module(piece) for piece in rowwise])
        self.mask = None if mask is None else as_module(mask)
        self.normalizer = as_module(normalizer)
        self.dropout = dropout
        self.aggregate = as_module(aggregate)
        self.implementation = implementation

    def pieces(self, *, causal: bool, key_mask: Array | None, inputs: Array | None = None) -> dict[str, Any]:
        """The slots as `attention` takes them, the mask joined with causality and padding.

        A module that computes its piece from the layer's inputs [B,T,D] is given them.
        """

        def bound(module: Callable) -> Bound:
            return made(module, inputs=inputs)

        parts = [masks.causal] if causal else []
        if key_mask is not None:
            valid = lead(key_mask, "BS" if key_mask.ndim == 2 else "S")
            parts.append(as_mask(bind(masks.padding, key_valid=valid)))
        if self.mask is not None:
            parts.append(as_mask(bound(self.mask)))
        mask = functools.reduce(operator.and_, parts) if parts else None
        return {
            "encode": tuple(map(bound, self.encode)),
            "score": bound(self.score),
            "modifiers": tuple(map(bound, self.modifiers)),
            "biases": tuple(map(bound, self.biases)),
            "rowwise": tuple(map(bound, self.rowwise)),
            "mask": mask,
            "normalizer": bound(self.normalizer),
            "dropout": self.dropout,
            "aggregate": bound(self.aggregate),
        }

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Positions = None,
        inputs: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        settings = self.settings(causal=causal, key_mask=key_mask, positions=positions, inputs=inputs)
        return attention(query, key, value, rng=rng, **settings)

    def settings(self, *, positions: Positions, **situation: Any) -> dict[str, Any]:
        """The arguments of `attention` beside query, key and value; the situation is that of `pieces`."""
        pieces = self.pieces(**situation)
        query_positions, key_positions = positions if isinstance(positions, tuple) else (positions, positions)
        places = {"query_positions": query_positions, "key_positions": key_positions}
        return {**pieces, **places, "implementation": self.implementation}

    def weights(
        self,
        query: Array,
        key: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Positions = None,
        inputs: Array | None = None,
    ) -> Array:
        """The attention weights [B,H,T,S]."""
        settings = self.settings(causal=causal, key_mask=key_mask, positions=positions, inputs=inputs)
        # The weights do not depend on the values: any will do, without an aggregate that needs their width.
        settings |= {"aggregate": matmul, "implementation": "auto"}
        inspection = inspect(query, key, key, **settings)
        assert inspection.weights is not None
        return inspection.weights


class Mixer(nnx.Module):
    """A mixer that is not weights-times-values, lifted over heads and batch.

    Args:
      mixer: (query [T,K], key [S,K], value [S,V], *, knobs) → [T,V]; a function, bound, or a module of one. A module
        that computes its knobs from the layer's inputs, or draws them, is given those; one that has a method
        `prepare` does that to query, key and value first.
      weights: (query, key, *, the same knobs) → [T,S], its effective attention matrix, or None if it has none.
      causal: for a mixer without a knob of that name, what it is by nature.
    """

    def __init__(self, mixer: Piece, weights: Callable | None = None, *, causal: bool | None = None):
        self.mixer = as_module(mixer)
        self.effective = weights
        self.nature = causal

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Positions = None,
        inputs: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        del positions
        bound, dtype = made(self.mixer, inputs=inputs, rng=rng), value.dtype
        query, key, value = self.prepared(query, key, value, key_mask)
        situation = {"key_mask": key_mask, "causal": causality(bound, causal, self.nature)}
        return mix(bound, query, key, value, rng=rng, **situation).astype(dtype)

    def weights(
        self,
        query: Array,
        key: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Positions = None,
        inputs: Array | None = None,
    ) -> Array | None:
        """The effective attention matrix [B,H,T,S], or None if the mixer has none."""
        del positions
        if self.effective is None:
            return None
        bound = made(self.mixer, inputs=inputs)
        query, key, _ = self.prepared(query, key, None, key_mask)
        weights = bind(self.effective, **bound.knobs)
        return mix_weights(weights, query, key, key_mask=key_mask, causal=causality(bound, causal, self.nature))

    def prepared(self, query: Array, key: Array, value: Any, key_mask: Array | None) -> tuple[Array, Array, Any]:
        """What the mixer gets of query, key and value (None for its weights): they as they are, or convolved, …."""
        prepare = getattr(self.mixer, "prepare", None)
        return (query, key, value) if prepare is None else prepare(query, key, value, key_mask)


def made(module: Callable, **offered: Any) -> Bound:
    """The piece of a module, which is given what it asks for: the layer's inputs [B,T,D], a random key.

    Raises: ValueError for a module that needs inputs where there are none.
    """
    wanted = {name: offered[name] for name in signature_of(type(module).__call__).needs if name in offered}
    if "inputs" in wanted and wanted["inputs"] is None:
        raise ValueError(f"{type(module).__name__} computes its piece from the inputs of a self-attention layer")
    return module(**wanted)


def causality(mixer: Bound, causal: bool, nature: bool | None) -> bool | None:
    """What a mixer is told about causality: nothing, where it is what is wanted by nature.

    Raises: ValueError where it is not.
    """
    if "causal" in signature_of(mixer.function).knobs:
        return causal
    if nature is None:
        raise ValueError(f"{mixer.__name__} takes no causal: say what it is by nature, causal=True or False")
    if causal != nature:
        by_nature = "causal" if nature else "not causal"
        raise ValueError(f"{mixer.__name__} is {by_nature} by nature: set causal to {nature}, or take another mixer")
    return None


class SelfAttention(nnx.Module):
    """Self-attention over inputs [B,T,D]: projections to heads, a mixer, a projection back.

      y = concat_h(mixer(x W_q, x W_k, x W_v)) W_o

    The structures of `modules.heads` replace one of its steps: `project`, `mix`, `weights_of` or `finish`.

    Args:
      width: D.
      heads: a head structure, such as `multi_head(width, count=4)`.
      mixer: an `Attention`, a `Mixer`, …; None = softmax attention.
      causal: whether a position sees its past alone.
      depth: which layer of an encoder it is, from 1; differential heads begin differently in every layer.
      rngs: for the projections.
    """

    def __init__(
        self,
        width: int,
        heads: Heads,
        mixer: HeadMixer | None = None,
        *,
        causal: bool = False,
        depth: int = 1,
        rngs: nnx.Rngs,
    ):
        self.heads, self.causal = heads, causal
        self.mixer: HeadMixer = mixer or Attention()
        self.make_projections(width, depth, rngs)
        self.output = linear(heads.count * heads.value_width, width, rngs)

    def make_projections(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        """Makes the parameters of `project`."""
        del depth
        heads = self.heads
        self.query = linear(width, heads.count * heads.key_width, rngs)
        self.key = linear(width, heads.groups * heads.key_width, rngs)
        self.value = linear(width, heads.groups * heads.value_width, rngs)

    def __call__(
        self,
        inputs: Array,
        *,
        key_mask: Array | None = None,
        positions: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        """Mixes inputs [B,T,D] into [B,T,D]; key_mask [B,T] is True where a position holds data."""
        situation = {"causal": self.causal, "key_mask": key_mask, "positions": positions, "inputs": inputs}
        mixed = self.finish(self.mix(*self.project(inputs, inputs), rng=rng, **situation), inputs)
        return self.output(mixed.reshape(*mixed.shape[:-2], -1))

    def weights(self, inputs: Array, *, key_mask: Array | None = None, positions: Array | None = None) -> Array | None:
        """The (effective) attention matrix [B,H,T,T] for inputs [B,T,D]; None if the mixer has none."""
        situation = {"causal": self.causal, "key_mask": key_mask, "positions": positions, "inputs": inputs}
        query, key, _ = self.project(inputs, inputs)
        return self.weights_of(query, key, **situation)

    def project(self, inputs: Array, source: Array) -> tuple[Array, Array, Array]:
        """Query [B,T,H,K] of inputs [B,T,D]; key [B,S,G,K] and value [B,S,G,V] of a source [B,S,D]."""
        heads = self.heads
        query = split_heads(self.query(inputs), heads.count)
        return query, split_heads(self.key(source), heads.groups), split_heads(self.value(source), heads.groups)

    def mix(self, query: Array, key: Array, value: Array, **situation: Any) -> Array:
        """The mixer's output [B,T,H,V]; the situation is what a mixer takes by keyword."""
        return self.mixer(query, key, value, **situation)

    def weights_of(self, query: Array, key: Array, **situation: Any) -> Array | None:
        """The mixer's (effective) attention matrix [B,H,T,S]."""
        return self.mixer.weights(query, key, **situation)

    def finish(self, mixed: Array, inputs: Array) -> Array:
        """What happens to the heads' outputs [B,T,H,V] before they are projected back."""
        del inputs
        return mixed


class CrossAttention(nnx.Module):
    """Attention of inputs [B,T,D] to another sequence, a source [B,S,D]: any head structure, its keys from the source.

    Args:
      layer: a `SelfAttention`, or one of `modules.heads`; its projections are used.
    """

    def __init__(self, layer: SelfAttention):
        self.layer = layer

    def __call__(
        self,
        inputs: Array,
        source: Array,
        *,
        key_mask: Array | None = None,
        positions: tuple[Array | None, Array | None] = (None, None),
        rng: Array | None = None,
    ) -> Array:
        """Mixes a source [B,S,D] into inputs [B,T,D]; key_mask [B,S]; positions of the inputs and of the source."""
        layer, projected = self.layer, self.layer.project(inputs, source)
        mixed = layer.mix(*projected, causal=layer.causal, key_mask=key_mask, positions=positions, inputs=None, rng=rng)
        mixed = layer.finish(mixed, inputs)
        return layer.output(mixed.reshape(*mixed.shape[:-2], -1))


def split_heads(projected: Array, count: int) -> Array:
    """[B,T,count·K] → [B,T,count,K]."""
    return jnp.reshape(projected, (*projected.shape[:-1], count, -1))


def linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A projection without a bias."""
    return nnx.Linear(inputs, outputs, use_bias=False, rngs=rngs)
