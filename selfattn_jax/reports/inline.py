"""Puts a matplotlib SVG into an HTML page: small, without ids that clash, in colours that follow the page."""

import re

from markupsafe import Markup, escape

from selfattn_jax.reports import drawing

#: Colour in the plot → the page's custom property.
PROPERTIES = {tint: f"var(--series-{index})" for index, tint in enumerate(drawing.SERIES)} | {
    drawing.INK: "var(--ink)",
    drawing.MUTED: "var(--muted)",
    drawing.RULE: "var(--rule)",
}

_BEFORE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_ELEMENTS = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
_ATTRIBUTES = re.compile(
    r" xmlns(:\w+)?=\"[^\"]*\"|(?<=<g) id=\"[^\"]*\"| version=\"[^\"]*\"| transform=\"rotate\(-0 [^\"]*\""
)
_ROOT = re.compile(r"<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>")
_STYLE = re.compile(r" style=\"([^\"]*)\"")
_EMPTY = re.compile(r"<(g|defs)( [^>]*)?/>|<(g|defs)( [^>]*[^>/])?>\s*</\3>")
_TAG = re.compile(r"<[^>]*>")


def inline_svg(picture: bytes, text: str) -> Markup:
    """The SVG as an element of a page.

    The text in a matplotlib SVG is escaped already; everything dropped or replaced here stands inside tags.

    Args:
      picture: SVG bytes of this package's plots.
      text: what the picture shows, for those who do not see it.
    """
    source = _ELEMENTS.sub("", _BEFORE.sub("", picture.decode("utf-8"), count=1))
    source = _TAG.sub(_slim, source)
    while (shorter := _EMPTY.sub("", source)) != source:
        source = shorter
    source = re.sub(r">\s+<", "><", source)
    opening = f'<svg class="chart" role="img" aria-label="{escape(text)}" '
    return Markup(_ROOT.sub(lambda root: f"{opening}{root[1]}>", source, count=1))


def _slim(tag: re.Match[str]) -> str:
    """A tag without what a page does not need."""
    text = _STYLE.sub(_themed, _ATTRIBUTES.sub("", tag[0])).replace("xlink:href", "href")
    return re.sub(r"\s*\n\s*", " ", text).replace("data:image/png;base64, ", "data:image/png;base64,")


def _themed(match: re.Match[str]) -> str:
    """A style attribute with the page's colours and without a font of its own."""
    style = re.sub(r"font-family: [^;\"]*;? ?|stroke-linejoin: \w+;? ?", "", match[1])
    style = re.sub(r"#[0-9a-f]{6}", lambda tint: PROPERTIES.get(tint[0], tint[0]), style)
    return f' style="{style.rstrip("; ")}"' if style else ""
