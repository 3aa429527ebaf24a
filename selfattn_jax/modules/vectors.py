"""Mixers of vectors: what stands in the place of self-attention without queries and keys, alone or beside heads."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.attention import mix_vectors
from selfattn_jax.modules.attention import HeadMixer, Piece, Positions, as_module, causality, linear, made
from selfattn_jax.shapes import Array


class VectorMixer(nnx.Module):
    """A mixer of the vectors of a sequence, lifted over the batch: inputs [B,T,D] → [B,T,D].

    Args:
      mixer: (inputs [T,D], *, knobs) → [T,D]; a function, bound, or a module of one.
      causal: for a mixer without a knob of that name, what it is by nature.
    """

    def __init__(self, mixer: Piece, *, causal: bool | None = None):
        self.mixer = as_module(mixer)
        self.nature = causal

    def __call__(
        self, inputs: Array, *, causal: bool = False, key_mask: Array | None = None, rng: Array | None = None
    ) -> Array:
        bound = made(self.mixer, inputs=inputs, rng=rng)
        return mix_vectors(bound, inputs, key_mask=key_mask, causal=causality(bound, causal, self.nature))


class VectorLayer(nnx.Module):
    """A mixer of vectors where an encoder has self-attention: y = mixer(x), or mixer(x W_v) W_o.

    Args:
      width: D.
      mixer: a `VectorMixer`.
      causal: whether a position sees its past alone.
      projects: whether the mixer stands between projections, as attention's weights do.
      rngs: for the projections.
    """

    def __init__(self, width: int, mixer: VectorMixer, *, causal: bool = False, projects: bool = False, rngs: nnx.Rngs):
        self.mixer, self.causal = mixer, causal
        self.value, self.output = (linear(width, width, rngs) if projects else None for _ in range(2))

    def __call__(
        self,
        inputs: Array,
        *,
        key_mask: Array | None = None,
        positions: Array | None = None,
        rng: Array | None = None,
    ) -> Array:
        """Mixes inputs [B,T,D] into [B,T,D]; key_mask [B,T] is True where a position holds data."""
        del positions
        value = inputs if self.value is None else self.value(inputs)
        mixed = self.mixer(value, causal=self.causal, key_mask=key_mask, rng=rng)
        return mixed if self.output is None else self.output(mixed)

    def weights(self, inputs: Array, *, key_mask: Array | None = None, positions: Array | None = None) -> None:
        """Vectors are mixed without attention weights: None."""
        del inputs, key_mask, positions


class OnValues(nnx.Module):
    """A mixer of vectors in the place of one of heads: it mixes the values of all its heads, side by side.

    Args:
      mixer: a `VectorMixer` of width H·V.
    """

    def __init__(self, mixer: VectorMixer):
        self.mixer = mixer

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
        del key, positions, inputs
        if query.shape[-3] != value.shape[-3]:
            raise ValueError(f"a mixer of vectors needs T = S, got T={query.shape[-3]} and S={value.shape[-3]}")
        value = jnp.repeat(value, query.shape[-2] // value.shape[-2], axis=-2)
        flat = value.reshape(*value.shape[:-2], -1)
        return self.mixer(flat, causal=causal, key_mask=key_mask, rng=rng).reshape(value.shape)

    def weights(
        self,
        query: Array,
        key: Array,
        *,
        causal: bool = False,
        key_mask: Array | None = None,
        positions: Positions = None,
        inputs: Array | None = None,
    ) -> None:
        """None: it has no attention weights."""
        del query, key, causal, key_mask, positions, inputs


class Parallel(nnx.Module):
    """Several mixers side by side, each with its share of the heads, in their order.

    Args:
      mixers: of heads; their number divides the heads and the groups.
    """

    def __init__(self, mixers: Sequence[HeadMixer]):
        self.mixers = nnx.List(mixers)

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
        situation = {"causal": causal, "key_mask": key_mask, "positions": positions, "inputs": inputs}
        shares = (jnp.split(array, len(self.mixers), axis=-2) for array in (query, key, value))
        outputs = [
            mixer(*share, **situation, rng=None if rng is None else jax.random.fold_in(rng, index))
            for index, (mixer, *share) in enumerate(zip(self.mixers, *shares, strict=True))
        ]
        return jnp.concatenate(outputs, axis=-2)

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
        """The weights [B,H,T,S] of all the heads, or None if some have none."""
        situation = {"causal": causal, "key_mask": key_mask, "positions": positions, "inputs": inputs}
        shares = (jnp.split(array, len(self.mixers), axis=-2) for array in (query, key))
        found = [mixer.weights(*share, **situation) for mixer, *share in zip(self.mixers, *shares, strict=True)]
        present = [weights for weights in found if weights is not None]
        return jnp.concatenate(present, axis=-3) if len(present) == len(found) else None
