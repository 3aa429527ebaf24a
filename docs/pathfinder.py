"""Draws the first pictures of pathfinder: the figure of pathfinder.md, with every build."""

from pathlib import Path

from matplotlib.figure import Figure

from selfattn_jax.tasks.pathfinder_images import pathfinder_images
from selfattn_jax.tasks.pathfinder_paths import Knobs

ROWS, COLUMNS = 4, 8


def draw(path: Path) -> None:
    """Writes the figure: pictures whose dots are joined above, pictures whose dots are apart below."""
    knobs: Knobs = {"size": 32, "contour": 14, "distractors": 5, "distractor_length": 4, "continuity": 1.0}
    pictures = pathfinder_images(0, 0, 4 * ROWS * COLUMNS, **knobs)
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    halves = figure.subfigures(2, 1)
    for half, answer, title in zip(halves, (1, 0), ("joined", "apart"), strict=True):
        half.suptitle(title)
        chosen = pictures.images[pictures.joined == answer][: ROWS * COLUMNS // 2]
        for axes, image in zip(half.subplots(ROWS // 2, COLUMNS).flat, chosen, strict=True):
            axes.imshow(image, cmap="gray_r")
            axes.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(Path(__file__).parent / "pathfinder.png")
