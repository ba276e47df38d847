"""What a training is told, by name: `CONFIGS` has the named ones, the command line changes single fields of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, cast, get_args, get_type_hints

from engine.errors import BadRequest
from engine.training.loop import LoopOptions
from engine.training.optimizers import OPTIMIZERS

Kind = Literal["classification", "language-model"]
Tokens = Literal["words", "bpe"]


@dataclass(frozen=True)
class TransformerOptions:
    """A Transformer and how it is trained; each field is an option of `brisk train`."""

    kind: Kind = field(metadata={"help": "classification, or language-model: what it learns to tell."})
    tokens: Tokens = field(metadata={"help": "words: whole words in lower case; bpe: byte pairs."})
    vocabulary: int = field(metadata={"help": "Most tokens of the vocabulary."})
    min_frequency: int = field(metadata={"help": "What is rarer in the training texts is no token."})
    max_tokens: int = field(metadata={"help": "Tokens read of a text, its head and tail; a language model's window."})
    embedding: int = field(metadata={"help": "Width of an embedding."})
    heads: int = field(metadata={"help": "Heads of attention, which divide the embedding."})
    layers: int = field(metadata={"help": "Blocks."})
    feed_forward: int = field(metadata={"help": "Width between the two matrices of a feed-forward part."})
    causal: bool = field(metadata={"help": "A token sees those before it alone, as GPT-2's; else all of its text."})
    dropout: float = field(metadata={"help": "Share of numbers set to zero in training."})
    word_dropout: float = field(metadata={"help": "Share of tokens that are not seen in training."})
    optimizer: str = field(metadata={"help": f"One of {', '.join(OPTIMIZERS)}."})
    ours: bool = field(metadata={"help": "Take the optimizer's lines of this project instead of torch's."})
    lr: float = field(metadata={"help": "The highest learning rate."})
    weight_decay: float = field(metadata={"help": "Of matrices, where the optimizer is adamw."})
    batch: int = field(metadata={"help": "Texts, or windows, a batch."})
    accumulate: int = field(metadata={"help": "Batches a step."})
    epochs: int = field(metadata={"help": "Passes over the texts at most."})
    patience: int = field(metadata={"help": "Epochs without a lower validation loss that end it; 0: never."})
    warmup: float = field(metadata={"help": "Share of all steps in which the rate rises."})
    clip: float = field(metadata={"help": "Norm that gradients are cut to; 0: not cut."})
    bf16: bool = field(metadata={"help": "Forward and backward in bfloat16; weights stay fp32."})
    validation: float = field(metadata={"help": "Share of the training texts that is validated on."})
    save_every_s: float = field(metadata={"help": "Seconds between checkpoints."})
    seed: int = field(metadata={"help": "Of weights, order and dropout."})

    def __post_init__(self) -> None:
        for name, known in (("kind", get_args(Kind)), ("tokens", get_args(Tokens)), ("optimizer", tuple(OPTIMIZERS))):
            if getattr(self, name) not in known:
                raise BadRequest(f"{name} is '{getattr(self, name)}': choose one of {', '.join(known)}.")
        if self.max_tokens < 8:
            raise BadRequest(f"max_tokens is {self.max_tokens}: give 8 or more.")
        if self.min_frequency < 1 or self.vocabulary < 3:
            raise BadRequest("min_frequency and vocabulary need 1 and 3 or more.")
        if not 0 <= self.seed < 2**63:
            raise BadRequest(f"seed is {self.seed}: give 0 or more.")
        if not 0 < self.validation < 1:
            raise BadRequest(f"validation is {self.validation}: give a share of the texts, between 0 and 1.")

    def loop(self) -> LoopOptions:
        """The part that the loop takes."""
        return LoopOptions(
            **{one.name: getattr(self, one.name) for one in fields(LoopOptions) if hasattr(self, one.name)}
        )


@dataclass(frozen=True)
class Distillation:
    """How a student learns.

    Attributes
    ----------
    temperature : softens teacher and student, above 0.
    soft : weight of the teacher where a text has a label too, 0 to 1; without a label the teacher alone counts.
    strength : as LogisticRegression's C, of a regression: the larger, the less its weights are held small.
    """

    temperature: float = 2.0
    soft: float = 0.7
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature <= 100:
            raise BadRequest(f"The temperature is {self.temperature}: give one above 0, at most 100.")
        if not 0 <= self.soft <= 1:
            raise BadRequest(f"The weight of soft targets is {self.soft}: give 0 to 1.")
        if not 0 < self.strength < math.inf:
            raise BadRequest(f"The strength is {self.strength}: give one above 0.")


_IMDB = TransformerOptions(
    kind="classification", tokens="bpe", vocabulary=8192, min_frequency=2, max_tokens=256,
    embedding=512, heads=8, layers=3, feed_forward=1024, causal=True, dropout=0.2, word_dropout=0.2,
    optimizer="adamw", ours=False, lr=3e-4, weight_decay=0.05, batch=32, accumulate=1, epochs=2, patience=2,
    warmup=0.08, clip=1.0, bf16=False, validation=0.1, save_every_s=60.0, seed=0,
)  # fmt: skip
# From nothing, twenty thousand reviews are soon learnt by heart: more is dropped, for longer.
_WORDS = replace(_IMDB, tokens="words", vocabulary=20_000, dropout=0.3, word_dropout=0.4, lr=4e-4, epochs=3)
# Each text is read once, so nothing is learnt by heart and nothing dropped.
_GPT = replace(
    _IMDB, kind="language-model", dropout=0.0, word_dropout=0.0, lr=1e-3, batch=16, epochs=1, validation=0.02
)

# Name -> what it trains, and how.
CONFIGS: dict[str, tuple[str, TransformerOptions]] = {
    "imdb-transformer": ("tells good reviews from bad ones, begun with imdb-gpt by --init", _IMDB),
    "imdb-words": ("the same from nothing, on whole words, which --vectors fits", _WORDS),
    "imdb-gpt": ("a language model of reviews, GPT-2's shape with 3 layers", _GPT),
}


def config(name: str) -> TransformerOptions:
    """The options of a named configuration; BadRequest where there is none of that name."""
    if name not in CONFIGS:
        known = "; ".join(f"{one} ({about})" for one, (about, _) in CONFIGS.items())
        raise BadRequest(f"There is no configuration '{name}': choose {known}.")
    return CONFIGS[name][1]


T = TypeVar("T")


def changed(options: T, changes: Sequence[str]) -> T:
    """The options with some fields given anew, "name=value" each; a hyphen in a name is as good as an underscore.

    Raises
    ------
    BadRequest : there is no such field, or its value is of another kind or out of range.
    """
    hints = get_type_hints(type(options))
    given: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in hints:
            raise BadRequest(f"--set takes name=value, and '{change}' is none: the names are {', '.join(hints)}.")
        kind = hints[name] if hints[name] in (int, float, bool) else str
        try:
            given[name] = _SWITCH[value.strip().lower()] if kind is bool else kind(value.strip())
        except (KeyError, ValueError) as error:
            wanted = {int: "a whole number", float: "a number", bool: "yes or no"}[kind]
            raise BadRequest(f"--set {name} is '{value}': give {wanted}.") from error
    return cast(T, replace(cast(Any, options), **given))


def listed(options: Any) -> list[str]:
    """A line for each field: its value, and what it is."""
    lines = []
    for one in fields(options):
        value = getattr(options, one.name)
        shown = f"{one.name}={('no', 'yes')[value] if isinstance(value, bool) else value}"
        lines.append(f"{shown:<28} {one.metadata['help']}")
    return lines


_SWITCH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
