"""Heads that read words instead of the language model: one weight of 8 bits for each bucket of n-grams.

Such a head sees which words and short phrases a text has, and no more: neither their order beyond three words nor what
a "but" turns round. It costs a millionth of a model. `brisk distill` makes one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import expit

from engine.errors import UserError
from pipelines.classification.ngrams import buckets, words
from pipelines.text import check_text

if TYPE_CHECKING:
    from engine.engine import Engine
    from pipelines.results import Shortened

FORMAT = "brisk-ngrams-1"
MAX_BITS = 24


@dataclass(frozen=True)
class NgramHead:
    """log-odds of the second label = bias + the sum of the weights of a text's n buckets over the root of n: a long
    text says the same more often, and is not surer by as much.

    Attributes
    ----------
    name : its file's name.
    labels : two.
    weights : int8 [2^bits], a bucket each.
    step : what one step of a weight stands for, in log-odds.
    bias : in log-odds.
    facts : how it was trained, as its JSON file has it.
    """

    name: str
    labels: tuple[str, ...]
    weights: np.ndarray
    step: float
    bias: float
    facts: Mapping[str, Any]

    @property
    def bits(self) -> int:
        return len(self.weights).bit_length() - 1

    def check(self, engine: Engine) -> None:
        """Any engine will do: it is not asked."""

    def note(self) -> str:
        """What a reader of a result should know."""
        return f"The head '{self.name}' reads words and phrases itself: the model was not run, and tokens are words."

    def read(self, engine: Engine | None, text: str) -> tuple[np.ndarray, int, Shortened | None]:
        """Probabilities f64 [2] of the labels, the words that were read, and None: nothing is left out. BadRequest
        for an empty or unreadable text."""
        text = check_text(text)
        p = float(expit(self.log_odds([text])[0]))
        return np.array([1 - p, p]), len(words(text)), None

    def log_odds(self, texts: Iterable[str]) -> np.ndarray:
        """The log-odds of the second label, f64 [n]."""
        bits, weights = self.bits, self.weights
        found = []
        for text in texts:
            own = weights[buckets(text, bits)]
            found.append(int(own.sum(dtype=np.int64)) / math.sqrt(max(1, len(own))))
        return np.asarray(found, np.float64) * self.step + self.bias


def save_ngram_head(head: NgramHead, folder: Path) -> Path:
    """Two files, `NAME.safetensors` and `NAME.json`; the path of the latter. UserError where they cannot be written."""
    about = {
        "format": FORMAT, "name": head.name, "labels": list(head.labels), "step": head.step, "bias": head.bias,
        **head.facts,
    }  # fmt: skip
    path = folder / f"{head.name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weights": head.weights}, path.with_suffix(".safetensors"))
        path.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be written ({reason}): name another folder.") from error
    return path


def ngram_head(about: dict[str, Any], tensors: Path) -> NgramHead:
    """A head of what its JSON file says and the file of its weights.

    Raises
    ------
    ValueError, KeyError, TypeError, OSError, SafetensorError : they are none, or do not fit.
    """
    weights = load_file(tensors)["weights"]
    count = len(weights)
    if weights.dtype != np.int8 or weights.ndim != 1 or count & (count - 1) or not 2 <= count <= 1 << MAX_BITS:
        raise ValueError("weights are not int8, a power of two of them")
    labels = tuple(str(label) for label in about.pop("labels"))
    name, step, bias = about.pop("name"), float(about.pop("step")), float(about.pop("bias"))
    if len(labels) != 2 or not (np.isfinite(step) and np.isfinite(bias)):
        raise ValueError("two labels, a step and a bias are needed")
    return NgramHead(name, labels, weights, step, bias, about)
