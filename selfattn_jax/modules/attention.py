"""Flax NNX modules of attention: parameters around the functions. They take functions and modules, never names."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx

from selfattn_jax.attention import attention, inspect, mix, mix_weights
from selfattn_jax.functional import masks
from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.functional.masks import Mask, as_mask
from selfattn_jax.functional.normalizers import softmax
from selfattn_jax.functional.scores import scaled_dot
from selfattn_jax.heads import Heads
from selfattn_jax.modules.pieces import Fixed
from selfattn_jax.shapes import Array

Piece = Callable | nnx.Module


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
        mask: Mask | None = None,
        normalizer: Piece = softmax,
        dropout: float = 0.0,
        aggregate: Piece = matmul,
    ):
        self.encode = nnx.List([as_module(piece) for piece in encode])
        self.score = as_module(score)
        self.modifiers = nnx.List([as_module(piece) for piece in modifiers])
        self.biases = nnx.List([as_module(piece) for piece in biases])
        self.rowwise = nnx.List([as_module(piece) for piece in rowwise])
        self.mask = nnx.static(mask)
        self.normalizer = as_module(normalizer)
        self.dropout = dropout
        self.aggregate = as_module(aggregate)

    def pieces(self, *, causal: bool, key_mask: Array | None) -> dict[str, Any]:
        """The slots as `attention` takes them, the mask joined with causality and padding."""
        parts = [masks.causal] if causal else []
        if key_mask is not None:
            valid = lead(key_mask, "BS" if key_mask.ndim == 2 else "S")
            parts.append(as_mask(bind(masks.padding, key_valid=valid)))
        if self.mask is not None:
            parts.append(self.mask)
        mask = functools.reduce(operator.and_, parts) if parts else None
        return {
            "encode": tuple(module() for module in self.encode),
            "score": self.score(),
            "modifiers": tuple(module() for module in self.modifiers),
            "biases": tuple(module() for module in self.biases),
            "rowwise": tuple(module() for module in self.rowwise),
            "mask": mask,
            "normalizer": self.normalizer(),
            "dropout": self.dropout,
            "aggregate": self.aggregate(),
        }

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        pieces = self.pieces(causal=causal, key_mask=key_mask)
        return attention(query, key, value, query_positions=positions, key_positions=positions, rng=rng, **pieces)

    def weights(
        self,
        query: Array,
        key: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Array | None = None,
    ) -> Array:
        """The attention weights [B,H,T,S]."""
        pieces = self.pieces(causal=causal, key_mask=key_mask)
        inspection = inspect(query, key, key, query_positions=positions, key_positions=positions, **pieces)
        assert inspection.weights is not None
        return inspection.weights


class Mixer(nnx.Module):
    """A mixer that is not weights-times-values, lifted over heads and batch.

    Args:
      mixer: (query [T,K], key [S,K], value [S,V], *, causal, key_mask) → [T,V]; a function, bound, or a module of one.
      weights: (query, key, *, causal, key_mask) → [T,S], its effective attention matrix, or None if it has none.
    """

    def __init__(self, mixer: Piece, weights: Callable | None = None):
        self.mixer = as_module(mixer)
        self.effective = weights

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        del positions, rng
        return mix(self.mixer(), query, key, value, key_mask=key_mask, causal=causal)

    def weights(
        self,
        query: Array,
        key: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Array | None = None,
    ) -> Array | None:
        """The effective attention matrix [B,H,T,S], or None if the mixer has none."""
        del positions
        if self.effective is None:
            return None
        bound: Bound = self.mixer()
        weights = bind(self.effective, **bound.knobs)
        return mix_weights(weights, query, key, key_mask=key_mask, causal=causal)


class SelfAttention(nnx.Module):
    """Self-attention over inputs [B,T,D]: projections to heads, a mixer, a projection back.

      y = concat_h(mixer(x W_q, x W_k, x W_v)) W_o

    Args:
      width: D.
      heads: a head structure, such as `multi_head(width, count=4)`.
      mixer: an `Attention` or `Mixer`; None = softmax attention.
      causal: whether a position sees its past alone.
      rngs: for the projections.
    """

    def __init__(
        self,
        width: int,
        heads: Heads,
        mixer: "Attention | Mixer | None" = None,
        *,
        causal: bool = False,
        rngs: nnx.Rngs,
    ):
        self.heads, self.causal = heads, causal
        self.mixer = mixer or Attention()

        def linear(inputs: int, outputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, outputs, use_bias=False, rngs=rngs)

        self.query = linear(width, heads.count * heads.key_width)
        self.key = linear(width, heads.groups * heads.key_width)
        self.value = linear(width, heads.groups * heads.value_width)
        self.output = linear(heads.count * heads.value_width, width)

    def __call__(
        self,
        inputs: Array,
        *,
        key_mask: Array | None = None,
        positions: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        """Mixes inputs [B,T,D] into [B,T,D]; key_mask [B,T] is True where a position holds data."""
        query, key, value = self.project(inputs)
        mixed = self.mixer(query, key, value, causal=self.causal, key_mask=key_mask, positions=positions, rng=rng)
        return self.output(mixed.reshape(*mixed.shape[:-2], -1))

    def weights(self, inputs: Array, *, key_mask: Array | None = None, positions: Array | None = None) -> Array | None:
        """The (effective) attention matrix [B,H,T,T] for inputs [B,T,D]; None if the mixer has none."""
        query, key, _ = self.project(inputs)
        return self.mixer.weights(query, key, causal=self.causal, key_mask=key_mask, positions=positions)

    def project(self, inputs: Array) -> tuple[Array, Array, Array]:
        """Query [B,T,H,K], key [B,T,G,K] and value [B,T,G,V] of inputs [B,T,D]."""
        heads = self.heads

        def split(projected: Array, count: int) -> Array:
            return jnp.reshape(projected, (*projected.shape[:-1], count, -1))

        query = split(self.query(inputs), heads.count)
        key, value = split(self.key(inputs), heads.groups), split(self.value(inputs), heads.groups)
        return query, key, value
