"""Modules of mixers: what they learn, draw or compute from the inputs of a layer."""

from selfattn_jax.modules.mixers.attention_free import AftFull
from selfattn_jax.modules.mixers.convolutions import Convolution, LongConvolution
from selfattn_jax.modules.mixers.kernels import Cosformer, Hedgehog, Performer, RandomFeature
from selfattn_jax.modules.mixers.low_rank import LatentBottleneck, Linformer, Luna
from selfattn_jax.modules.mixers.plain import MlpMixer
from selfattn_jax.modules.mixers.recurrences import Delta, GatedDelta, GatedLinear, Retention, Rwkv, SimpleGated, Ssd
from selfattn_jax.modules.mixers.recurrent_networks import Gru, Lstm
from selfattn_jax.modules.mixers.sorting import Reformer, Sinkhorn
from selfattn_jax.modules.mixers.state_space import Lru, S4d

__all__ = [
    "AftFull",
    "Convolution",
    "Cosformer",
    "Delta",
    "GatedDelta",
    "GatedLinear",
    "Gru",
    "Hedgehog",
    "LatentBottleneck",
    "Linformer",
    "LongConvolution",
    "Lru",
    "Lstm",
    "Luna",
    "MlpMixer",
    "Performer",
    "RandomFeature",
    "Reformer",
    "Retention",
    "Rwkv",
    "S4d",
    "SimpleGated",
    "Sinkhorn",
    "Ssd",
]
