"""Modules of head structures that do more than project: each replaces a step of `SelfAttention`."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.cross_heads import differential_attention, talking_attention
from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.heads import LatentHeads, TalkingHeads
from selfattn_jax.modules.attention import Attention, SelfAttention, linear, split_heads
from selfattn_jax.shapes import Array

# Weights depend neither on the values nor on the form, and not every form shows them.
FOR_WEIGHTS = {"aggregate": matmul, "implementation": "auto"}


class Gated(SelfAttention):
    """`heads.gated`: y ← y ⊙ σ(x W), an own gate for every number of every head."""

    def make_projections(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        super().make_projections(width, depth, rngs)
        self.gate = linear(width, self.heads.count * self.heads.value_width, rngs)

    def finish(self, mixed: Array, inputs: Array) -> Array:
        """Opens the gates of the query's inputs."""
        return mixed * jax.nn.sigmoid(split_heads(self.gate(inputs), self.heads.count))


class SharedQueryKey(SelfAttention):
    """`heads.shared_query_key`: queries and keys by the same projection."""

    def make_projections(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        del depth
        self.query = linear(width, self.heads.count * self.heads.key_width, rngs)
        self.value = linear(width, self.heads.count * self.heads.value_width, rngs)

    def project(self, inputs: Array, source: Array) -> tuple[Array, Array, Array]:
        """Query, key and value; the key by the query's projection."""
        query, key = (split_heads(self.query(vectors), self.heads.count) for vectors in (inputs, source))
        return query, key, split_heads(self.value(source), self.heads.count)


class Latent(SelfAttention):
    """`heads.latent`: c = norm(x W),  kₕ = [x W_rope, c W_kₕ],  vₕ = c W_vₕ."""

    def make_projections(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        del depth
        heads = self._sizes()
        self.query = linear(width, heads.count * heads.key_width, rngs)
        self.down = linear(width, heads.latent_width, rngs)
        self.norm = nnx.RMSNorm(heads.latent_width, rngs=rngs)
        self.key = linear(heads.latent_width, heads.count * (heads.key_width - heads.rope_width), rngs)
        self.value = linear(heads.latent_width, heads.count * heads.value_width, rngs)
        self.shared_key = linear(width, heads.rope_width, rngs) if heads.rope_width else None

    def _sizes(self) -> LatentHeads:
        assert isinstance(self.heads, LatentHeads)
        return self.heads

    def project(self, inputs: Array, source: Array) -> tuple[Array, Array, Array]:
        """Query, key and value; keys and values from the latent vector, the part for rope the same in every head."""
        heads = self._sizes()
        latent = self.norm(self.down(source))
        query, key, value = (
            split_heads(projected, heads.count)
            for projected in (self.query(inputs), self.key(latent), self.value(latent))
        )
        if self.shared_key is not None:
            shared = self.shared_key(source)[..., None, :]
            key = jnp.concatenate([jnp.broadcast_to(shared, (*key.shape[:-1], heads.rope_width)), key], axis=-1)
        return query, key, value


class Talking(SelfAttention):
    """`heads.talking`: scores and weights mixed by learned matrices, at first the identity."""

    def make_projections(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        super().make_projections(width, depth, rngs)
        heads = self.heads
        assert isinstance(heads, TalkingHeads)
        needs_attention(self.mixer, "talking")
        self.before = nnx.Param(jnp.eye(heads.count)) if heads.before else None
        self.after = nnx.Param(jnp.eye(heads.count)) if heads.after else None

    def _matrices(self) -> dict[str, Array | None]:
        matrices = {"before": self.before, "after": self.after}
        return {name: None if matrix is None else matrix[...] for name, matrix in matrices.items()}

    def mix(self, query: Array, key: Array, value: Array, *, rng: Array | None = None, **situation: Any) -> Array:
        """The output of heads that talk."""
        settings = needs_attention(self.mixer, "talking").settings(**situation)
        return talking_attention(query, key, value, rng=rng, **self._matrices(), **settings).output

    def weights_of(self, query: Array, key: Array, **situation: Any) -> Array | None:
        """The weights after the heads have talked."""
        settings = {**needs_attention(self.mixer, "talking").settings(**situation), **FOR_WEIGHTS}
        return talking_attention(query, key, key, want=("weights",), **self._matrices(), **settings).weights


class Differential(SelfAttention):
    """`heads.differential`: two attentions subtracted, each head normalised and scaled by 1 − λ₀.

    λ = exp(a·b) − exp(c·d) + λ₀        λ₀ = 0.8 − 0.6 exp(−0.3 (depth − 1))
    """

    def make_projections(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        heads = self.heads
        needs_attention(self.mixer, "differential")
        self.query = linear(width, 2 * heads.count * heads.key_width, rngs)
        self.key = linear(width, 2 * heads.groups * heads.key_width, rngs)
        self.value = linear(width, heads.groups * heads.value_width, rngs)
        self.first, self.second = (
            nnx.Param(0.1 * jax.random.normal(rngs.params(), (2, heads.key_width))) for _ in range(2)
        )
        self.norm = nnx.RMSNorm(heads.value_width, epsilon=1e-5, rngs=rngs)
        self.initial = 0.8 - 0.6 * math.exp(-0.3 * (depth - 1))

    def scale(self) -> Array:
        """λ [H]: one number for all heads."""
        first, second = (jnp.exp(jnp.sum(pair[...][0] * pair[...][1])) for pair in (self.first, self.second))
        return jnp.broadcast_to(first - second + self.initial, (self.heads.count,))

    def project(self, inputs: Array, source: Array) -> tuple[Array, Array, Array]:
        """Two queries and two keys for each head, side by side; value as ever."""
        heads = self.heads
        query, key = split_heads(self.query(inputs), 2 * heads.count), split_heads(self.key(source), 2 * heads.groups)
        return query, key, split_heads(self.value(source), heads.groups)

    def mix(self, query: Array, key: Array, value: Array, *, rng: Array | None = None, **situation: Any) -> Array:
        """The difference of two attentions."""
        settings = needs_attention(self.mixer, "differential").settings(**situation)
        return differential_attention(query, key, value, scale=self.scale(), rng=rng, **settings).output

    def weights_of(self, query: Array, key: Array, **situation: Any) -> Array | None:
        """The difference of the weights."""
        settings = {**needs_attention(self.mixer, "differential").settings(**situation), **FOR_WEIGHTS}
        value = key[..., ::2, :]
        return differential_attention(query, key, value, scale=self.scale(), want=("weights",), **settings).weights

    def finish(self, mixed: Array, inputs: Array) -> Array:
        """Normalises each head by itself."""
        del inputs
        return self.norm(mixed) * (1 - self.initial)


def needs_attention(mixer: Any, structure: str) -> Attention:
    """The mixer as an `Attention`: what heads do to each other's weights needs weights.

    Raises: ValueError when it is another mixer.
    """
    if not isinstance(mixer, Attention):
        raise ValueError(f"{structure} heads mix attention weights, which this mixer has not: take the mixer attention")
    return mixer
