"""Trained heads: a logistic regression on the engine's own features, a few kilobytes beside the model.

The features are hidden states after one of the middle layers: the engine stops there, so a head costs less than reading
the text to the end. Either their mean over the bare text ("mean"), or the state after the instruction that
zero-shot classification puts behind a text ("last"), where the model is about to say what it thinks of it.
`python -m pipelines.classification.train` makes a head. Heads of another kind read words alone (see `ngram_head`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

from engine.errors import BadRequest, UserError
from pipelines.classification import ngram_head
from pipelines.classification.ngram_head import NgramHead
from pipelines.classification.templates import INSTRUCTION
from pipelines.prompt import text_prompt
from pipelines.text import check_text, room_for_text, shorten_text

if TYPE_CHECKING:
    from engine.engine import Engine
    from pipelines.results import Shortened

FOLDER = Path(__file__).parent / "trained"  # the heads that come with Brisk
FORMAT = "brisk-head-1"
Reading = Literal["mean", "last"]
READINGS = get_args(Reading)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Head:
    """P(label | text) = softmax(features W^T + bias).

    Attributes
    ----------
    name : its file's name.
    model : name of the model whose features it was fitted on.
    layer, tokens, reading : the features are those of `reading` after `layer` layers, of at most `tokens` tokens of a
        text, its head and its tail.
    labels : names of the labels, in the order of the rows of `weight`.
    weight, bias : f32 [labels, D] and f32 [labels].
    facts : how it was trained, as its JSON file has it.
    """

    name: str
    model: str
    layer: int
    tokens: int
    reading: Reading
    labels: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    facts: Mapping[str, Any]

    def features(self, engine: Engine, text: str) -> tuple[np.ndarray, int, Shortened | None]:
        """The features f32 [D] of a text, the tokens that were read, and what was left out of it. BadRequest where the
        engine runs another model than the head was trained on."""
        self.check(engine)
        return read_features(engine, text, self.layer, self.tokens, self.reading)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """The probabilities f64 [..., labels] for features [..., D]."""
        return softmax(features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias, axis=-1)

    def read(self, engine: Engine, text: str) -> tuple[np.ndarray, int, Shortened | None]:
        """The probabilities f64 [labels] of a text; tokens and what was left out as `features` has them."""
        features, tokens, shortened = self.features(engine, text)
        return self.probabilities(features), tokens, shortened

    def note(self) -> str:
        """What a reader of a result should know: nothing."""
        return ""

    def check(self, engine: Engine) -> None:
        """BadRequest where the engine runs another model than the head was trained on."""
        if engine.info.model != self.model or engine.info.hidden != self.weight.shape[1]:
            raise BadRequest(
                f"The head '{self.name}' was trained on {self.model}, and {engine.info.model} is loaded: load that "
                "model, or train a head with python -m pipelines.classification.train."
            )


def read_features(
    engine: Engine, text: str, layer: int, tokens: int, reading: Reading
) -> tuple[np.ndarray, int, Shortened | None]:
    """What a head reads of a text.

    Parameters
    ----------
    engine : runs the first `layer` layers.
    text : the text; BadRequest where it is empty or unreadable.
    layer : layers after which the hidden states are taken, 1 to the model's own number.
    tokens : most tokens read of the text: a longer one is shortened to its head and tail.
    reading : "mean" over the states of the bare text, or the "last" state behind text and instruction.

    Returns
    -------
    The features f32 [D], how many tokens were read, and what was left out (None for nothing).
    """
    # Behind a text stands the instruction, and two seams may split anew.
    beside = len(text_prompt(engine, "", INSTRUCTION)) + 2 if reading == "last" else 0
    room = min(tokens, room_for_text(engine, beside=beside, max_tokens=0))
    short, shortened = shorten_text(engine.tokenizer, check_text(text), room)
    ids = text_prompt(engine, short, INSTRUCTION) if reading == "last" else engine.tokenizer.encode(short)
    return engine.embed([ids], layer, reading)[0], len(ids), shortened


def save_head(head: Head, folder: Path) -> Path:
    """Two files, `NAME.safetensors` and `NAME.json`; the path of the latter. UserError where they cannot be written."""
    if not _NAME.fullmatch(head.name):
        raise UserError(f"'{head.name}' cannot name a head: use letters, digits, dots, dashes and underscores.")
    about = {
        "format": FORMAT, "name": head.name, "model": head.model, "layer": head.layer, "tokens": head.tokens,
        "reading": head.reading, "labels": list(head.labels), **head.facts,
    }  # fmt: skip
    path = folder / f"{head.name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"weight": head.weight.astype(np.float32), "bias": head.bias.astype(np.float32)}
        save_file(tensors, path.with_suffix(".safetensors"))
        path.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}): name another folder.") from error
    return path


def load_head(name: str) -> Head | NgramHead:
    """A head by the name of one that comes with Brisk, or by the path of its JSON file. UserError for anything else."""
    path = Path(name) if name.endswith(".json") else FOLDER / f"{name}.json"
    if not path.is_file():
        known = ", ".join(head_names()) or "none"
        raise UserError(f"There is no head '{name}': give the path of its .json file, or one of those here ({known}).")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        format = about.pop("format")
        if format == ngram_head.FORMAT:
            return ngram_head.ngram_head(about, path.with_suffix(".safetensors"))
        tensors = load_file(path.with_suffix(".safetensors"))
        if format != FORMAT or about["reading"] not in READINGS:
            raise ValueError("another format")
        own = {key: about.pop(key) for key in ("name", "model", "layer", "tokens", "reading")}
        labels = tuple(str(label) for label in about.pop("labels"))
        weight, bias = tensors["weight"], tensors["bias"]
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or len(labels) != len(bias) or len(labels) < 2:
            raise ValueError("labels and weights do not fit")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError("a weight is not a number")
        return Head(**own, labels=labels, weight=weight, bias=bias, facts=about)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{path} is not a head, or damaged ({error}): train it again.") from error


def head_names(model: str = "") -> list[str]:
    """Names of the heads that come with Brisk: those on features of `model`, or all where none is named."""
    found = sorted(path.stem for path in FOLDER.glob("*.json"))
    return [name for name in found if not model or getattr(load_head(name), "model", "") == model]
