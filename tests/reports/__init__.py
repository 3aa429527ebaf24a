"""Tests of selfattn_jax.reports."""
