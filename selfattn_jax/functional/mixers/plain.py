"""What the sequence is mixed by without a choice: averages, Fourier's waves, an MLP along it, or nothing."""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.visible import shown, visible_of
from selfattn_jax.shapes import Array, accumulation_dtype, check_shapes


def bag(inputs: Array, /, *, causal: bool = False, key_mask: Array | None = None) -> Array:
    """Averages all that is visible: a bag of words.

      yₜ = Σₛ xₛ / Σₛ 1        s ≤ t when causal

    Args:
      inputs: [T,D].
      causal: averages over s ≤ t alone.
      key_mask: [T] bool, True = holds data.
    Returns: [T,D], in inputs' dtype; 0 where hidden or where nothing is visible.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Iyyer et al. 2015 (deep averaging networks).
    """
    check_shapes(inputs=(inputs, "TD"))
    visible, vectors = visible_of(inputs.shape[0], key_mask), shown(inputs, key_mask)
    counted = visible.astype(vectors.dtype)[:, None]
    if causal:
        total, count = jnp.cumsum(vectors, axis=0), jnp.cumsum(counted, axis=0)
    else:
        total, count = vectors.sum(axis=0, keepdims=True), counted.sum(axis=0, keepdims=True)
    mean = total / jnp.maximum(count, 1)
    return jnp.where(visible[:, None], mean, 0).astype(inputs.dtype)


def none(inputs: Array, /, *, causal: bool = False, key_mask: Array | None = None) -> Array:
    """Mixes nothing: what is left of a block is its MLP.

      y = 0

    Args:
      inputs: [T,D].
      causal, key_mask: make no difference.
    Returns: [T,D] zeros, in inputs' dtype.
    References: Yu et al. 2022 (the identity as a mixer), arXiv:2210.13452.
    """
    del causal, key_mask
    return jnp.zeros_like(inputs)


def fourier(inputs: Array, /) -> Array:
    """Mixes by the discrete Fourier transform along the sequence and along the vectors.

      y = Re(F_T x F_D)

    Args:
      inputs: [T,D].
    Returns: [T,D], in inputs' dtype.
    Raises: ValueError when inputs are not [T,D].
    References: Lee-Thorp et al. 2022, arXiv:2105.03824.
    """
    width = check_shapes(inputs=(inputs, "TD"))["D"]
    # Of real numbers, half of the frequencies of the vectors say all: (t,d) and (−t,−d) are conjugate. The sequence is
    # turned to stand next to each other in memory: strides by a power of 2 would push each other out of the caches.
    half = jnp.fft.rfft(inputs.astype(accumulation_dtype(inputs)), axis=1)
    half = jnp.fft.fft(half.T, axis=1).real.T
    mirrored = jnp.roll(half[::-1, 1 : (width + 1) // 2][:, ::-1], 1, axis=0)
    return jnp.concatenate([half, mirrored], axis=1).astype(inputs.dtype)


def mlp_mixer(inputs: Array, /, *, up: Array, up_bias: Array, down: Array, down_bias: Array) -> Array:
    """Mixes by an MLP along the sequence, the same for every number of the vectors.

      y = (gelu(xᵀ up + up_bias) down + down_bias)ᵀ

    Args:
      inputs: [N,D].
      up: [N,F].  up_bias: [F].
      down: [F,N].  down_bias: [N].
    Returns: [N,D], in inputs' dtype.
    Raises: ValueError naming the argument whose shape is off, a sequence of another length among them.
    References: Tolstikhin et al. 2021, arXiv:2105.01601.
    """
    arrays = {"up_bias": (up_bias, "F"), "down": (down, "FN"), "down_bias": (down_bias, "N")}
    check_shapes(up=(up, "NF"), **arrays, inputs=(inputs, "ND"))
    dtype = accumulation_dtype(inputs)
    up, up_bias, down, down_bias = (jnp.asarray(knob, dtype) for knob in (up, up_bias, down, down_bias))
    hidden = jax.nn.gelu(inputs.astype(dtype).T @ up + up_bias[None, :])
    return (hidden @ down + down_bias[None, :]).T.astype(inputs.dtype)
