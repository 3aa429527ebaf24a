"""Flax NNX modules: parameters around the functions."""

from selfattn_jax.modules import pieces
from selfattn_jax.modules.attention import Attention, Mixer, SelfAttention
from selfattn_jax.modules.encoder import Block, Encoder, GatedMlp, Mlp

__all__ = ["Attention", "Block", "Encoder", "GatedMlp", "Mixer", "Mlp", "SelfAttention", "pieces"]
