"""The encoder: embed, add positions, mix and transform in blocks, read out."""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional.bind import bind, call
from selfattn_jax.modules.attention import SelfAttention
from selfattn_jax.modules.vectors import VectorLayer
from selfattn_jax.shapes import Array, PositiveInt

Placement = Literal["pre", "post"]
Pool = Literal["mean", "first", "last"]
Norm = Callable[..., nnx.Module]


class Mlp(nnx.Module):
    """y = W₂ activation(W₁ x), position by position."""

    def __init__(self, width: int, hidden: int, *, activation: Callable = jax.nn.gelu, rngs: nnx.Rngs):
        self.activation = activation
        self.up = nnx.Linear(width, hidden, rngs=rngs)
        self.down = nnx.Linear(hidden, width, rngs=rngs)

    def __call__(self, inputs: Array) -> Array:
        return self.down(self.activation(self.up(inputs)))


class GatedMlp(nnx.Module):
    """y = W₂ (activation(W₁ x) ⊙ W₃ x), position by position; with silu it is SwiGLU (arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int, *, activation: Callable = jax.nn.silu, rngs: nnx.Rngs):
        self.activation = activation
        self.gate = nnx.Linear(width, hidden, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(width, hidden, use_bias=False, rngs=rngs)
        self.down = nnx.Linear(hidden, width, use_bias=False, rngs=rngs)

    def __call__(self, inputs: Array) -> Array:
        return self.down(self.activation(self.gate(inputs)) * self.up(inputs))


class Block(nnx.Module):
    """A residual block: mix over positions, then (if there is an MLP) transform every position.

      pre:   x ← x + mixer(norm(x)),  x ← x + mlp(norm(x))
      post:  x ← norm(x + mixer(x)),  x ← norm(x + mlp(x))

    Args:
      width: D.
      mixer: a `SelfAttention` or `VectorLayer`.
      mlp: an `Mlp`, a `GatedMlp` or None.
      norm: nnx.RMSNorm or nnx.LayerNorm.
      placement: where the norm stands.
    """

    def __init__(
        self,
        width: int,
        mixer: SelfAttention | VectorLayer,
        mlp: nnx.Module | None = None,
        *,
        norm: Norm = nnx.RMSNorm,
        placement: Placement = "pre",
        rngs: nnx.Rngs,
    ):
        self.mixer, self.mlp, self.placement = mixer, mlp, placement
        self.mixer_norm = norm(width, rngs=rngs)
        self.mlp_norm = None if mlp is None else norm(width, rngs=rngs)

    def __call__(
        self,
        inputs: Array,
        *,
        key_mask: Array | None = None,
        positions: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        """Transforms inputs [B,T,D] into [B,T,D]."""

        def mix(hidden: Array) -> Array:
            return self.mixer(hidden, key_mask=key_mask, positions=positions, rng=rng)

        hidden = self._residual(mix, self.mixer_norm, inputs)
        return hidden if self.mlp is None else self._residual(self.mlp, self.mlp_norm, hidden)

    def _residual(self, layer: Callable, norm: Callable | None, inputs: Array) -> Array:
        assert norm is not None
        return inputs + layer(norm(inputs)) if self.placement == "pre" else norm(inputs + layer(inputs))

    def weights(self, inputs: Array, *, key_mask: Array | None = None, positions: Array | None = None) -> Array | None:
        """The (effective) attention matrix [B,H,T,T] of this block, or None if its mixer has none."""
        mixed = self.mixer_norm(inputs) if self.placement == "pre" else inputs
        return self.mixer.weights(mixed, key_mask=key_mask, positions=positions)


class Encoder(nnx.Module):
    """An encoder of tokens or vectors with a readout per position or per sequence.

    Args:
      width: D.
      blocks: what transforms [B,T,D], in order.
      vocabulary: N, for inputs [B,T] of tokens; or
      features: F, for inputs [B,T,F] of numbers. One of the two.
      outputs: of the readout.
      answers: M, how many times `outputs` are read out of a sequence; None = once, without an axis for it.
      positions: a module that gives positions [T] → [T,D], added to the inputs; None = none.
      position_ids: a module that draws the positions [T] of a sequence by a random key; None = 0 … T−1.
      pool: None reads out every position, [B,T,outputs]; mean, first and last read out a sequence, [B,outputs].
      norm: before the readout; None = none (post-norm blocks end in one).
    """

    def __init__(
        self,
        width: PositiveInt,
        blocks: Sequence[Block],
        *,
        vocabulary: int | None = None,
        features: int | None = None,
        outputs: int,
        answers: int | None = None,
        positions: nnx.Module | None = None,
        position_ids: nnx.Module | None = None,
        pool: Pool | None = None,
        norm: Norm | None = nnx.RMSNorm,
        rngs: nnx.Rngs,
    ):
        if (vocabulary is None) == (features is None):
            raise ValueError(f"give one of vocabulary and features, got {vocabulary=} and {features=}")
        # Embeddings at 0.02, the habit of larger models, keep tiny encoders from learning to attend.
        initializer = nnx.initializers.normal(width**-0.5)
        if vocabulary is not None:
            self.embed = nnx.Embed(vocabulary, width, embedding_init=initializer, rngs=rngs)
        else:
            self.embed = nnx.Linear(features or 0, width, rngs=rngs)
        self.positions, self.position_ids, self.pool = positions, position_ids, pool
        self.blocks = nnx.List(blocks)
        self.norm = None if norm is None else norm(width, rngs=rngs)
        self.answers = answers
        self.readout = nnx.Linear(width, outputs * (answers or 1), rngs=rngs)

    def __call__(
        self,
        inputs: Array,
        *,
        key_mask: Array | None = None,
        positions: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        """Reads inputs [B,T] int32 or [B,T,F] into [B,T,outputs] or, pooled, [B,outputs] or [B,M,outputs].

        Args:
          key_mask: [B,T] bool, True = holds data.
          positions: [T] or [B,T] int32; None = 0 … T−1, or drawn.
          rng: a typed key, for dropout and for what else is drawn in training; None = no dropout.
        """
        positions = self.places(inputs, positions, rng)
        hidden = self.embedded(inputs, positions)
        for index, block in enumerate(self.blocks):
            block_rng = None if rng is None else jax.random.fold_in(rng, index)
            hidden = block(hidden, key_mask=key_mask, positions=positions, rng=block_rng)
        hidden = hidden if self.norm is None else self.norm(hidden)
        read = self.readout(self._pooled(hidden, key_mask))
        return read if self.answers is None else read.reshape(*read.shape[:-1], self.answers, -1)

    def weights(
        self, inputs: Array, *, key_mask: Array | None = None, positions: Array | None = None
    ) -> list[Array | None]:
        """The (effective) attention matrix [B,H,T,T] of every block, None where its mixer has none."""
        positions = self.places(inputs, positions, None)
        hidden, matrices = self.embedded(inputs, positions), []
        for block in self.blocks:
            matrices.append(block.weights(hidden, key_mask=key_mask, positions=positions))
            hidden = block(hidden, key_mask=key_mask, positions=positions)
        return matrices

    def places(self, inputs: Array, positions: Array | None, rng: Array | None) -> Array | None:
        """The positions given, or drawn for each sequence; without a random key always the same draw."""
        if positions is not None or self.position_ids is None:
            return positions
        drawn = bind(self.position_ids(), length=inputs.shape[1])
        # Not a key that a layer gets: those are numbered from 0.
        rngs = jax.random.split(jax.random.fold_in(jax.random.key(0) if rng is None else rng, 2**31), inputs.shape[0])
        return jax.vmap(drawn)(rngs)

    def embedded(self, inputs: Array, positions: Array | None = None) -> Array:
        """The inputs as vectors [B,T,D], with their positions added."""
        hidden = self.embed(inputs)
        if self.positions is None:
            return hidden
        positions = jnp.arange(hidden.shape[-2], dtype=jnp.int32) if positions is None else positions
        bound = self.positions()

        def embedding(row: Array) -> Array:
            return call(bound, "position", positions=row)

        vectors = embedding(positions)[None] if positions.ndim == 1 else jax.vmap(embedding)(positions)
        return hidden + vectors.astype(hidden.dtype)

    def _pooled(self, hidden: Array, key_mask: Array | None) -> Array:
        if self.pool is None:
            return hidden
        valid = jnp.ones(hidden.shape[:2], bool) if key_mask is None else key_mask
        if self.pool == "mean":
            count = jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1).astype(hidden.dtype)
            return jnp.sum(jnp.where(valid[..., None], hidden, 0), axis=1) / count
        steps = jnp.arange(hidden.shape[1])[None, :]
        first, last = jnp.argmax(valid, axis=1), jnp.max(jnp.where(valid, steps, 0), axis=1)
        index = first if self.pool == "first" else last
        return jnp.take_along_axis(hidden, index[:, None, None], axis=1)[:, 0]
