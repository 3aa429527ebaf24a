"""Mixers: what cannot be written as weights times values, with the same outer signature."""

from selfattn_jax.functional.mixers.attention_free import aft_full, aft_simple
from selfattn_jax.functional.mixers.clusters import clustered, clustered_weights
from selfattn_jax.functional.mixers.convolutions import convolution, long_convolution
from selfattn_jax.functional.mixers.kernels import (
    cosformer,
    cosformer_weights,
    hedgehog,
    hedgehog_weights,
    random_feature,
    random_feature_weights,
    taylor,
    taylor_weights,
)
from selfattn_jax.functional.mixers.linear import linear, linear_weights
from selfattn_jax.functional.mixers.low_rank import (
    latent_bottleneck,
    latent_bottleneck_weights,
    linformer,
    linformer_weights,
    luna,
    luna_weights,
    nystrom,
    nystrom_weights,
)
from selfattn_jax.functional.mixers.performer import performer, performer_weights
from selfattn_jax.functional.mixers.plain import bag, fourier, mlp_mixer, none
from selfattn_jax.functional.mixers.recurrent_networks import gru, gru_steps, lstm, lstm_steps
from selfattn_jax.functional.mixers.state_space import lru, lru_chunks, lru_steps, s4d, s4d_chunks, s4d_steps

__all__ = [
    "aft_full",
    "aft_simple",
    "bag",
    "clustered",
    "clustered_weights",
    "convolution",
    "cosformer",
    "cosformer_weights",
    "fourier",
    "gru",
    "gru_steps",
    "hedgehog",
    "hedgehog_weights",
    "latent_bottleneck",
    "latent_bottleneck_weights",
    "linear",
    "linear_weights",
    "linformer",
    "linformer_weights",
    "long_convolution",
    "lru",
    "lru_chunks",
    "lru_steps",
    "lstm",
    "lstm_steps",
    "luna",
    "luna_weights",
    "mlp_mixer",
    "none",
    "nystrom",
    "nystrom_weights",
    "performer",
    "performer_weights",
    "random_feature",
    "random_feature_weights",
    "s4d",
    "s4d_chunks",
    "s4d_steps",
    "taylor",
    "taylor_weights",
]
