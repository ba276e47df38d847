"""An adapter from lessons to a folder: what the engine has read of the texts, the loop, and what is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engine.errors import BadRequest
from engine.measure.machine import machine, versions
from engine.model.adapters.save import save_lora
from engine.training.adapted import Adapted, bare
from engine.training.asked import Asked, Question
from engine.training.log import Log
from engine.training.loop import LoopOptions, train
from engine.training.optimizers import make_optimizer
from pipelines.adapter import NOTED
from pipelines.training.lessons import TASKS, Lesson, framing, invocation, questions
from pipelines.training.objectives import answering, measure

if TYPE_CHECKING:
    from engine.engine import Engine

CHECKPOINTS = "checkpoints"
FEWEST = 8  # lessons, of which one is held out


@dataclass(frozen=True)
class AdapterOptions:
    """An adapter and how it learns; each field is an option of `brisk train-adapter`."""

    task: str = field(metadata={"help": f"One of {', '.join(TASKS)}."})
    rank: int = field(default=8, metadata={"help": "Of each thin product."})
    alpha: float = field(default=16.0, metadata={"help": "The products weigh alpha / rank."})
    dropout: float = field(default=0.0, metadata={"help": "Share of what goes into them set to zero in training."})
    lr: float = field(default=5e-4, metadata={"help": "The highest learning rate."})
    batch: int = field(default=8, metadata={"help": "Lessons a batch; those on one text stand together."})
    accumulate: int = field(default=1, metadata={"help": "Batches a step."})
    epochs: int = field(default=3, metadata={"help": "Passes over the lessons at most."})
    patience: int = field(default=1, metadata={"help": "Epochs without a lower validation loss that end it; 0: never."})
    max_tokens: int = field(default=448, metadata={"help": "Tokens read of a text, its head and tail."})
    bf16: bool = field(default=False, metadata={"help": "Products in bfloat16; the adapter stays fp32."})
    validation: float = field(default=0.1, metadata={"help": "Share of the lessons that is validated on."})
    test: float = field(default=0.1, metadata={"help": "Share of the lessons that is measured on at the end."})
    save_every_s: float = field(default=60.0, metadata={"help": "Seconds between checkpoints."})
    seed: int = field(default=0, metadata={"help": "Of weights and order."})

    def __post_init__(self) -> None:
        rules = [
            (self.task in TASKS, f"The task is '{self.task}': choose one of {', '.join(TASKS)}."),
            (1 <= self.rank <= 256, f"rank is {self.rank}: give 1 to 256."),
            (self.alpha > 0, f"alpha is {self.alpha}: give one above 0."),
            (0 <= self.dropout < 1, f"dropout is {self.dropout}: give a share below 1."),
            (self.batch >= 1, f"batch is {self.batch}: give 1 or more."),
            (self.max_tokens >= 16, f"max_tokens is {self.max_tokens}: give 16 or more."),
            (0 < self.validation < 1, f"validation is {self.validation}: give a share between 0 and 1."),
            (0 <= self.test < 1 - self.validation, f"test is {self.test}: give a share that leaves some rows."),
        ]
        for holds, sentence in rules:
            if not holds:
                raise BadRequest(sentence)

    def loop(self) -> LoopOptions:
        """The part that the loop takes."""
        known = {one.name for one in dataclasses.fields(LoopOptions)} - {"bf16"}
        return LoopOptions(**{name: getattr(self, name) for name in known if hasattr(self, name)})


@dataclass(frozen=True)
class TrainedAdapter:
    """What came of it: its folder, the labels of a classification, the lessons that nothing was chosen on, a record for
    each epoch, and minutes of training."""

    folder: Path
    labels: list[str]
    tested: list[Lesson]
    history: list[dict[str, Any]]
    minutes: float


def train_adapter(
    engine: Engine, lessons: Sequence[Lesson], options: AdapterOptions, folder: Path, log: Log, source: str = ""
) -> TrainedAdapter:
    """Train, or go on training, and write PEFT's folder.

    Parameters
    ----------
    engine : reads the texts; its model is what the adapter stands beside.
    lessons : of one task.
    options : the adapter and its training.
    folder : of the adapter; its checkpoints are in it while it is trained.
    log : what is shown.
    source : where the lessons are from, for the report.

    Raises
    ------
    UserError : see `engine.training.loop.train`; too few lessons.
    """
    o = options
    own, held, tested = split(lessons, (o.validation, o.test), o.seed)
    data, validation = (
        Asked(questions(some, o.task, engine, o.max_tokens), engine.keys_values, o.batch, o.seed)
        for some in (own, held)
    )
    arch, params = bare(engine.config.model, engine.info.max_context)
    model = Adapted(arch, params, o.rank, o.alpha, torch.bfloat16 if o.bf16 else torch.float32, o.dropout, o.seed)
    count = sum(part.numel() for part in model.parameters())
    log.say(
        f"{len(own):,} lessons to learn from, {len(held):,} to validate on; {count / 1e6:.2f} million numbers beside "
        f"{engine.info.parameters / 1e6:.0f} million that stand still."
    )
    torch.manual_seed(o.seed)
    learnt = answering(model)
    optimizer = make_optimizer("adamw", [{"params": list(model.parameters())}], o.lr, 0.0)
    position = train(
        model, optimizer, learnt, data, lambda: measure(learnt, validation), o.loop(), folder / CHECKPOINTS,
        _run(engine, data.questions, validation.questions, o), log,
    )  # fmt: skip
    labels = sorted({lesson.answer for lesson in lessons}) if o.task == "classification" else []
    about = {
        "task": o.task, "labels": labels, "options": dataclasses.asdict(o), "rows": len(lessons), "source": source,
        "minutes": round(position.seconds / 60, 2), "history": position.history,
        "machine": machine(torch.get_num_threads(), versions(("torch", "numpy"))),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    begins = invocation(framing(o.task, engine), engine)
    save_lora(model.lora(folder.name, begins), arch, folder, engine.info.model, {NOTED: about})
    return TrainedAdapter(folder, labels, tested, position.history, position.seconds / 60)


def split(lessons: Sequence[Lesson], shares: Sequence[float], seed: int) -> list[list[Lesson]]:
    """Lessons to learn from, and parts that are held out; those about one thing (else one text) stay together.

    Parameters
    ----------
    lessons : all of them.
    shares : of the things in each part that is held out; where it is above 0, one at least.
    seed : draws them.

    Raises
    ------
    BadRequest : there are too few.
    """
    things = sorted({lesson.about or lesson.text for lesson in lessons})
    counts = [max(1, round(share * len(things))) if share else 0 for share in shares]
    if len(lessons) < FEWEST or sum(counts) >= len(things):
        raise BadRequest(
            f"There are {len(lessons)} lessons on {len(things)} texts: give at least {FEWEST}, on several texts."
        )
    ends = np.cumsum([*counts, len(things) - sum(counts)])
    part_of: dict[str, int] = {}
    for place, i in enumerate(np.random.default_rng(seed).permutation(len(things))):
        part_of[things[i]] = (int(np.searchsorted(ends, place, side="right")) + 1) % (len(shares) + 1)
    parts: list[list[Lesson]] = [[] for _ in range(len(shares) + 1)]
    for lesson in lessons:
        parts[part_of[lesson.about or lesson.text]].append(lesson)
    return parts


def _run(engine: Engine, own: Sequence[Question], held: Sequence[Question], options: AdapterOptions) -> str:
    """A name for what is trained: the same model, lessons and options give the same."""
    told = {**dataclasses.asdict(options), "save_every_s": None, "model": engine.info.model}
    told["precision"] = engine.info.precision
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for part in (own, held):
        for one in part:
            digest.update(json.dumps([one.text, one.asked, one.answer]).encode())
    return digest.hexdigest()
