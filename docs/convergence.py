"""Draws how fast approximations become softmax attention: the figure of convergence.md, with every build."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from selfattn_jax.functional import mixers
from selfattn_jax.functional.scores import unit
from selfattn_jax.shapes import Array

T, K, V = 192, 8, 3
DRAWS = 8  # of what is random: features and rotations


def smooth() -> tuple[Array, Array, Array]:
    """Query, key and value of one sequence whose neighbours are alike, as those of a signal or an image are."""
    times = (np.arange(T) + 0.5)[:, None] / T
    waves = np.arange(1, K + 1)
    arrays = np.sin(4 * times * waves), np.cos(3 * times * waves + waves), np.sin(5 * times + waves[:V])
    query, key, value = (jnp.asarray(array, jnp.float32) for array in arrays)
    return query, key, value


def errors(approximate: Callable[[Array, int], Array], sizes: Sequence[int], exact: Array) -> list[float]:
    """Root mean square errors over draws, relative to the exact output; the approximation takes a key and a size."""
    keys = jax.random.split(jax.random.key(0), DRAWS)

    def error(size: int) -> float:
        found = jax.jit(jax.vmap(lambda rng: approximate(rng, size)))(keys)
        return float(jnp.sqrt(jnp.mean((found - exact[None]) ** 2) / jnp.mean(exact**2)))

    return [error(size) for size in sizes]


def curves() -> Iterator[tuple[str, Sequence[int], list[float]]]:
    """For every approximation: its name and what grows, the sizes, and the errors."""
    query, key, value = smooth()
    exact = jax.nn.softmax(query @ key.T / K**0.5) @ value

    def performer(rng: Array, features: int) -> Array:
        return mixers.performer(query, key, value, projection=jax.random.normal(rng, (features, K)))

    def nystrom(rng: Array, landmarks: int) -> Array:
        del rng
        return mixers.nystrom(query, key, value, landmarks=landmarks, iterations=20)

    def linformer(rng: Array, rank: int) -> Array:
        del rng
        means = jnp.repeat(jnp.eye(rank), T // rank, axis=0) * rank / T
        return mixers.linformer(query, key, value, key_projection=means, value_projection=means)

    def reformer(rng: Array, rounds: int) -> Array:
        return mixers.reformer(query, query, value, rotations=jax.random.normal(rng, (rounds, K, 2)), chunk=32)

    many, few = [2**power for power in range(4, 11)], [2**power for power in range(6)]
    yield "performer: features", many, errors(performer, many, exact)
    yield "nystrom: landmarks", few[:5], errors(nystrom, few[:5], exact)
    yield "linformer: rank, by means of neighbours", few, errors(linformer, few, exact)
    shared = jnp.where(jnp.eye(T, dtype=bool), -jnp.inf, query @ unit(query).T / K**0.5)
    yield "reformer: rounds", few, errors(reformer, few, jax.nn.softmax(shared) @ value)


def draw(path: Path) -> None:
    """Writes the figure."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for (label, sizes, found), marker in zip(curves(), "osD^", strict=True):
        axes.loglog(sizes, found, marker=marker, label=label)
    axes.set(xlabel="how many", ylabel="error, relative to softmax attention")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(Path(__file__).parent / "convergence.png")
