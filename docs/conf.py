"""Sphinx settings: Markdown pages, docstrings as they are written, and the catalogue as a page of its own."""

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import convergence
import pathfinder

from selfattn_jax import catalogue

project = "selfattn_jax"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
autodoc_typehints = "none"


def write_catalogue(app: object) -> None:
    """Writes catalogue.md: a table of every kind, from the entries themselves."""
    lines = [
        "# The catalogue",
        "",
        "What a config can name, and Python can compose. `selfattn list` prints the same.",
        "",
    ]
    for kind in catalogue.KINDS:
        more = ("memory", "state", "parameters") if kind == "mixers" else ()
        columns = ("name", "what it does", "goes to", "cost", *more, "can and needs", "knobs", "source")
        lines += [f"## {kind}", "", row(columns), row("---" for _ in columns)]
        for entry in catalogue.of_kind(kind).values():
            knobs = ", ".join(entry.knobs()) if entry.in_config else ""
            grows = (entry.cost, *((entry.memory, entry.carries, entry.learned) if more else ()))
            does = (f"`{entry.name}`", entry.summary, f"`{entry.place}`")
            lines.append(row((*does, *grows, entry.capabilities, knobs, entry.paper)))
        lines.append("")
    (Path(__file__).parent / "catalogue.md").write_text("\n".join(lines), encoding="utf-8")


def draw_convergence(app: object) -> None:
    """Draws convergence.png."""
    convergence.draw(Path(__file__).parent / "convergence.png")


def draw_pathfinder(app: object) -> None:
    """Draws pathfinder.png."""
    pathfinder.draw(Path(__file__).parent / "pathfinder.png")


def row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def equations_as_written(app: object, what: str, name: str, target: object, options: object, lines: list[str]) -> None:
    """Makes the indented equations between the first line and the sections literal: |i − j| is no markup."""
    written: list[str] = []
    for index, line in enumerate(lines):
        if line.startswith("  ") and index and not lines[index - 1].strip() and not any(map(is_section, written)):
            written += ["::", ""]
        written.append(line)
    lines[:] = written


def is_section(line: str) -> bool:
    """Whether a line of a docstring begins its arguments or what follows them."""
    return line.startswith(("Args:", "Returns:", "Raises:", "References:"))


def setup(app: object) -> None:
    """Sphinx calls this."""
    app.connect("builder-inited", write_catalogue)
    app.connect("builder-inited", draw_convergence)
    app.connect("builder-inited", draw_pathfinder)
    app.connect("autodoc-process-docstring", equations_as_written, priority=100)  # before the sections are read
