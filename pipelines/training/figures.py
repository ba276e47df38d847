"""`python -m pipelines.training.figures FOLDER`: what docs/training.md shows, drawn by the optimizers themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from engine.measure.command import run_app
from engine.training.optimizers import OPTIMIZERS

START = (-4.0, 1.6)
STEPS = 60
# Name -> learning rate: SGD's and momentum's are near the most that the steep side bears.
PATHS = {"sgd": 0.085, "momentum": 0.02, "adam": 0.3}
STEEPNESS = (0.2, 20.0)  # of the valley, along and across


def valley(p: torch.Tensor) -> torch.Tensor:
    """Half of 0.2 x^2 + 20 y^2 for p = (x, y): a hundred times as steep across as along."""
    return 0.5 * (torch.tensor(STEEPNESS, dtype=p.dtype) * p**2).sum()


def path(name: str, lr: float) -> np.ndarray:
    """Where an optimizer goes in the valley, f64 [steps + 1, 2].

    Raises `BadRequest` for a name that is none of `OPTIMIZERS`.
    """
    p = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = OPTIMIZERS[name].ours([p], lr=lr)
    seen = [p.detach().numpy().copy()]
    for _ in range(STEPS):
        optimizer.zero_grad()
        valley(p).backward()
        optimizer.step()
        seen.append(p.detach().numpy().copy())
    return np.array(seen)


def draw(
    folder: Annotated[Path, typer.Argument(help="Where training-paths.png goes.")] = Path("docs"),
) -> None:
    """Draw the paths of SGD, momentum and Adam down a valley."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.2), dpi=130)
    x, y = np.meshgrid(np.linspace(-4.6, 2.4, 200), np.linspace(-2, 2, 200))
    height = 0.5 * (STEEPNESS[0] * x**2 + STEEPNESS[1] * y**2)
    axes.contour(x, y, height, levels=np.geomspace(0.05, 40, 14), colors="0.8", linewidths=0.8)
    for (name, lr), colour in zip(PATHS.items(), ("#b45309", "#0369a1", "#15803d"), strict=True):
        walked = path(name, lr)
        left = float(valley(torch.from_numpy(walked[-1])))
        label = f"{'SGD' if name == 'sgd' else name.capitalize()}, rate {lr:g}: {left:.1g} left"
        axes.plot(*walked.T, "o-", color=colour, markersize=2.6, linewidth=1.1, label=label)
    axes.plot(0, 0, "k+", markersize=9)
    axes.plot(*START, "ks", markersize=5)
    axes.set(xlabel="the flat direction", ylabel="the steep direction", title=f"{STEPS} steps down the same valley")
    axes.legend(loc="lower right", framealpha=1, title="loss after the last step")
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "training-paths.png", metadata={"Software": None})
    pyplot.close(figure)
    print(folder / "training-paths.png", flush=True)


if __name__ == "__main__":
    sys.exit(run_app(draw))
