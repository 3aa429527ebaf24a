"""Head structures: how many query heads, how many key/value heads, and how wide each is; what is between the heads.

A structure is sizes; the module that projects by them is `modules.attention.SelfAttention`, or one of `modules.heads`.
"""

from dataclasses import dataclass

from selfattn_jax.shapes import NonNegativeInt, PositiveInt


@dataclass(frozen=True)
class Heads:
    """The sizes of a head structure: `count` query heads H share `groups` key/value heads G, H/G to each."""

    count: int
    groups: int
    key_width: int
    value_width: int


@dataclass(frozen=True)
class LatentHeads(Heads):
    """Keys and values come from `latent_width` numbers a position; the first `rope_width` of the key width do not."""

    latent_width: int
    rope_width: int


@dataclass(frozen=True)
class TalkingHeads(Heads):
    """Heads mix `before` the normaliser, `after` it, or both."""

    before: bool
    after: bool


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


def gated(
    width: int,
    *,
    count: PositiveInt = 1,
    groups: PositiveInt | None = None,
    key_width: PositiveInt | None = None,
    value_width: PositiveInt | None = None,
) -> Heads:
    """Every head's output passes a gate that the query's input opens: y ← y ⊙ σ(x W).

    Args:
      width: D, of the model.
      count: H.  groups: G, which divides H; None = H.
      key_width: K; None = D/H.
      value_width: V; None = K.
    Returns: the sizes.
    Raises: ValueError when G does not divide H, or H does not divide D and no key_width says what to do.
    References: Qiu et al. 2025, arXiv:2505.06708.
    """
    return grouped(width, count=count, groups=groups or count, key_width=key_width, value_width=value_width)


def shared_query_key(
    width: int,
    *,
    count: PositiveInt = 1,
    key_width: PositiveInt | None = None,
    value_width: PositiveInt | None = None,
) -> Heads:
    """Queries and keys are the same vectors: one projection makes both.

    Args: those of `multi_head`.
    Returns: the sizes.
    Raises: ValueError when H does not divide D and no key_width says what to do.
    References: Kitaev et al. 2020, arXiv:2001.04451.
    """
    return multi_head(width, count=count, key_width=key_width, value_width=value_width)


def latent(
    width: int,
    *,
    count: PositiveInt = 1,
    latent_width: PositiveInt | None = None,
    rope_width: NonNegativeInt = 0,
    key_width: PositiveInt | None = None,
    value_width: PositiveInt | None = None,
) -> LatentHeads:
    """Keys and values of all heads come from one small vector a position, beside a part of the key that they share.

      c = norm(x W),  kₕ = [x W_rope, c W_kₕ],  vₕ = c W_vₕ

    Turn the shared part with `encode: [{name: rope, rotated: rope_width}]`.

    Args:
      width: D, of the model.
      count: H.
      latent_width: M, of c; None = four times the key width.
      rope_width: of the part of queries and keys that is made for rope; 0 = without.
      key_width: of the other part; None = D/H.
      value_width: V; None = the key width.
    Returns: the sizes; their key width K counts both parts.
    Raises: ValueError when H does not divide D and no key_width says what to do, or rope_width is odd.
    References: DeepSeek-AI 2024, arXiv:2405.04434.
    """
    if rope_width % 2:
        raise ValueError(f"rope_width must be even (rope turns pairs), got {rope_width}")
    plain = multi_head(width, count=count, key_width=key_width, value_width=value_width)
    return LatentHeads(
        count,
        count,
        plain.key_width + rope_width,
        plain.value_width,
        latent_width=latent_width or 4 * plain.key_width,
        rope_width=rope_width,
    )


def talking(
    width: int,
    *,
    count: PositiveInt = 1,
    groups: PositiveInt | None = None,
    before: bool = True,
    after: bool = True,
    key_width: PositiveInt | None = None,
    value_width: PositiveInt | None = None,
) -> TalkingHeads:
    """Heads exchange scores before the normaliser and weights after it, by two learned matrices.

      xₕ ← Σ_g before_hg x_g,  wₕ ← Σ_g after_hg w_g

    Args:
      width: D, of the model.
      count: H.  groups: G, which divides H; None = H.
      before: whether scores are mixed.  after: whether weights are.
      key_width: K; None = D/H.
      value_width: V; None = K.
    Returns: the sizes.
    Raises: ValueError when nothing is mixed, G does not divide H, or H does not divide D and no key_width says so.
    References: Shazeer et al. 2020, arXiv:2003.02436.
    """
    if not (before or after):
        raise ValueError("talking heads must mix before, after, or both; without either they are multi_head")
    plain = gated(width, count=count, groups=groups, key_width=key_width, value_width=value_width)
    return TalkingHeads(plain.count, plain.groups, plain.key_width, plain.value_width, before=before, after=after)


def differential(
    width: int,
    *,
    count: PositiveInt = 1,
    groups: PositiveInt | None = None,
    key_width: PositiveInt | None = None,
    value_width: PositiveInt | None = None,
) -> Heads:
    """Every head subtracts one attention from another on the same values, so that what both share cancels.

      yₕ = norm((w¹ₕ − λ w²ₕ) vₕ) · (1 − λ₀)

    Args:
      width: D, of the model.
      count: H, each with two queries and two keys.  groups: G, which divides H; None = H.
      key_width: K; None = D/2H.
      value_width: V; None = 2K.
    Returns: the sizes.
    Raises: ValueError when G does not divide H, or 2H does not divide D and no key_width says what to do.
    References: Ye et al. 2024, arXiv:2410.05258.
    """
    if key_width is None and width % (2 * count):
        raise ValueError(
            f"count must divide half of the width, got count={count} and width={width}: change one, or set key_width"
        )
    key_width = key_width or width // (2 * count)
    return grouped(
        width, count=count, groups=groups or count, key_width=key_width, value_width=value_width or 2 * key_width
    )
