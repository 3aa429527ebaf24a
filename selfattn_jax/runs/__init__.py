"""Runs: one config, all its seeds and learning rates, from the first step to the result."""
