"""What a training shows while it runs: a bar, a line for each epoch, TensorBoard's scalars, a trace for Perfetto."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from engine.errors import UserError

TRACED = (2, 4)  # steps passed over, and steps recorded
SMOOTH = 0.98  # of the loss on the bar: the share of what was there before


class Log:
    """Listens to the loop.

    Parameters
    ----------
    say : is told a sentence for each epoch.
    bar : whether a bar is drawn on stderr; None draws it where that is a terminal.
    scalars : folder of TensorBoard's event files, None for none.
    trace : file of a profiler's trace of four steps, None for none; Perfetto and chrome://tracing open it.

    Raises
    ------
    UserError : TensorBoard is wanted and not installed.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        bar: bool | None = None,
        scalars: Path | None = None,
        trace: Path | None = None,
    ) -> None:
        self._say, self._wanted, self._trace = say, bar, trace
        self._bar: Any = None
        self._loss: float | None = None
        self._writer: Any = None
        self._profiler: Any = None
        if scalars is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UserError(
                    "Scalars need TensorBoard, which is not installed: pip install tensorboard, or ask for none."
                ) from error
            self._writer = SummaryWriter(str(scalars))

    def begin(self, epoch: int, epochs: int, batches: int, done: int) -> None:
        """An epoch begins, or is entered in its midst.

        Parameters
        ----------
        epoch, epochs : its number from 0, and how many there are to be.
        batches, done : how many it has, and how many are done.
        """
        from tqdm import tqdm

        disable = None if self._wanted is None else not self._wanted
        self._bar = tqdm(
            total=batches, initial=done, desc=f"epoch {epoch + 1} of {epochs}", unit=" batches", file=sys.stderr,
            dynamic_ncols=True, disable=disable,
        )  # fmt: skip

    def profiling(self) -> AbstractContextManager[Any]:
        """Around all steps: records some of them where a trace is wanted."""
        if self._trace is None:
            return nullcontext()
        from torch.profiler import ProfilerActivity, profile, schedule

        skipped, recorded = TRACED
        trace = self._trace

        def write(profiler: Any) -> None:
            profiler.export_chrome_trace(str(trace))
            self._say(f"The trace of {recorded} steps is in {trace}: open it in https://ui.perfetto.dev.")

        self._profiler = profile(
            activities=[ProfilerActivity.CPU],
            schedule=schedule(wait=skipped - 1, warmup=1, active=recorded, repeat=1),
            on_trace_ready=write,
        )
        return self._profiler

    def batch(self, loss: float, accuracy: float | None, tokens_per_s: float) -> None:
        """A batch is done.

        Parameters
        ----------
        loss : its loss.
        accuracy : of the epoch so far; None where nothing is counted right or wrong.
        tokens_per_s : of the epoch so far.
        """
        self._loss = loss if self._loss is None else SMOOTH * self._loss + (1 - SMOOTH) * loss
        shown = {"loss": f"{self._loss:.3f}"}
        if accuracy is not None:
            shown["accuracy"] = f"{accuracy:.1%}"
        self._bar.set_postfix({**shown, "tokens/s": f"{tokens_per_s:,.0f}"}, refresh=False)
        self._bar.update()

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """An optimizer step is done; `values` are scalars by name."""
        if self._profiler is not None:
            self._profiler.step()
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done and validated."""
        self._close_bar()
        right = f", accuracy {record['accuracy']:.3f}" if record.get("accuracy") is not None else ""
        found = (
            f", accuracy {record['validation_accuracy']:.3f}" if record.get("validation_accuracy") is not None else ""
        )
        self._say(
            f"epoch {record['epoch']}: training loss {record['loss']:.4f}{right}; validation loss "
            f"{record['validation_loss']:.4f}{found}; {record['tokens_per_s']:,.0f} tokens/s, "
            f"{record['seconds'] / 60:.1f} minutes"
        )
        if self._writer is not None:
            for name in ("loss", "accuracy", "validation_loss", "validation_accuracy"):
                if record.get(name) is not None:
                    self._writer.add_scalar(f"epoch/{name}", record[name], record["epoch"])

    def say(self, sentence: str) -> None:
        """Anything else worth a sentence."""
        self._close_bar()
        self._say(sentence)

    def close(self) -> None:
        """Nothing more comes."""
        self._close_bar()
        if self._writer is not None:
            self._writer.close()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
