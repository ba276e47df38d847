"""`brisk.pipeline(task)`: a task by the name and in the shapes that users of Transformers 4 know."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brisk.calls.common import Calls
from engine.config import EngineConfig, Precision
from engine.errors import BadRequest

if TYPE_CHECKING:
    from engine.engine import Engine, OnProgress

ALIASES = {"sentiment-analysis": "text-classification"}
NAMES = (
    "text-classification",
    "zero-shot-classification",
    "summarization",
    "question-answering",
    "text-generation",
)


def pipeline(
    task: str,
    model: str | None = None,
    *,
    precision: Precision | None = None,
    device: str | int | None = None,
    config: EngineConfig | None = None,
    on_progress: OnProgress | None = None,
) -> Calls[Any]:
    """A task on an engine, which all pipelines of equal settings share.

    Parameters
    ----------
    task : "text-classification" (also "sentiment-analysis"), "zero-shot-classification", "summarization",
        "question-answering" or "text-generation".
    model : registry name, local folder, `.gguf` file, or Hub id with an optional `@revision`; None is the default one.
    precision : how weights are stored: "fp32", "half", "int8" or "int4"; None is int8.
    device : "auto", "cpu", "cuda", "cuda:1", "mps", ...; or a number as in Transformers: -1 is the CPU, n is "cuda:n".
    config : every other setting; the three above take the place of its own where they are given.
    on_progress : called as `on_progress(message, share)` while a model loads; share is 0 to 1, or None.

    Returns
    -------
    What is called with texts, and closed or left as a context manager when it is no longer needed.

    Raises
    ------
    BadRequest : an unknown task, a setting that cannot be met, or a model of another kind than the task needs.
    BadModel : the model cannot be loaded.
    """
    name = ALIASES.get(task, task)
    if name not in NAMES:
        raise BadRequest(f"The task '{task}' is unknown: choose one of {', '.join((*NAMES, *ALIASES))}.")
    if isinstance(device, int):
        device = "cpu" if device < 0 else f"cuda:{device}"
    given: dict[str, Any] = {"model": model, "precision": precision, "device": device}
    settings = replace(
        config or EngineConfig(), **{field: value for field, value in given.items() if value is not None}
    )
    from engine.engine import shared_engine

    engine = shared_engine(settings, on_progress)
    try:
        return on_engine(name, engine)
    except BaseException:
        engine.close()
        raise


def on_engine(name: str, engine: Engine) -> Calls[Any]:
    """The task of that name on a loaded engine, which it closes in the end. BadRequest where the model is of another
    kind than the task needs."""
    if name == "text-classification":
        from brisk.calls.text_classification import TextClassification

        return TextClassification(engine)
    if name == "zero-shot-classification":
        from brisk.calls.zero_shot_classification import ZeroShotClassification

        return ZeroShotClassification(engine)
    if name == "summarization":
        from brisk.calls.summarization import Summarization

        return Summarization(engine)
    if name == "question-answering":
        from brisk.calls.question_answering import QuestionAnswering

        return QuestionAnswering(engine)
    from brisk.calls.text_generation import TextGeneration

    return TextGeneration(engine)
