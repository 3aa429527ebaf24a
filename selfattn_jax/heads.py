"""Head structures: how many query heads, how many key/value heads, and how wide each is."""

from dataclasses import dataclass

from selfattn_jax.shapes import PositiveInt


@dataclass(frozen=True)
class Heads:
    """The sizes of a head structure: `count` query heads H share `groups` key/value heads G, H/G to each."""

    count: int
    groups: int
    key_width: int
    value_width: int


def multi_head(
    width: int, *, count: PositiveInt = 1, key_width: PositiveInt | None = None, value_width: PositiveInt | None = None
) -> Heads:
    """One key/value head for every query head: G = H.

    Args:
      width: D, of the model.
      count: H.
      key_width: K; None = D/H.
      value_width: V; None = K.
    Returns: the sizes.
    Raises: ValueError when H does not divide D and no key_width says what to do.
    References: Vaswani et al. 2017, arXiv:1706.03762.
    """
    return grouped(width, count=count, groups=count, key_width=key_width, value_width=value_width)


def multi_query(
    width: int, *, count: PositiveInt = 1, key_width: PositiveInt | None = None, value_width: PositiveInt | None = None
) -> Heads:
    """One key/value head for all query heads: G = 1.

    Args: those of `multi_head`.
    Returns: the sizes.
    Raises: ValueError when H does not divide D and no key_width says what to do.
    References: Shazeer 2019, arXiv:1911.02150.
    """
    return grouped(width, count=count, groups=1, key_width=key_width, value_width=value_width)


def grouped(
    width: int,
    *,
    count: PositiveInt = 1,
    groups: PositiveInt = 1,
    key_width: PositiveInt | None = None,
    value_width: PositiveInt | None = None,
) -> Heads:
    """One key/value head for every H/G query heads, neighbours together: head h uses group ⌊h / (H/G)⌋.

    Args:
      width: D, of the model.
      count: H.  groups: G, which divides H.
      key_width: K; None = D/H.
      value_width: V; None = K.
    Returns: the sizes.
    Raises: ValueError when G does not divide H, or H does not divide D and no key_width says what to do.
    References: Ainslie et al. 2023, arXiv:2305.13245.
    """
    if count % groups:
        raise ValueError(f"groups must divide count (the query heads), got count={count} and groups={groups}")
    if key_width is None and width % count:
        raise ValueError(
            f"count must divide the width, got count={count} and width={width}: change one, or set key_width"
        )
    key_width = key_width or width // count
    return Heads(count, groups, key_width, value_width or key_width)
