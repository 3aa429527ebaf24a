"""Config files: read, override, validate, write. `build.py` makes models and tasks of them."""

from selfattn_jax.config.errors import ConfigError, Origin, Problem
from selfattn_jax.config.reading import Document, from_mapping, read, subdocument, with_overrides
from selfattn_jax.config.validating import to_yaml, validate

__all__ = [
    "ConfigError",
    "Document",
    "Origin",
    "Problem",
    "from_mapping",
    "read",
    "subdocument",
    "to_yaml",
    "validate",
    "with_overrides",
]
