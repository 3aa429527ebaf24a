"""Modules of mixers: what they learn, draw or compute from the inputs of a layer."""
