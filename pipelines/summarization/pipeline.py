"""Summaries: of a text of any length, in prose or bullets, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from engine.config import SamplingParams
from engine.errors import BadRequest
from engine.results import Timing
from pipelines.adapter import read_adapter
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.prompt import is_chat, text_prompt
from pipelines.results import total_timing
from pipelines.summarization import prompts, tidy
from pipelines.summarization.check import Check
from pipelines.summarization.prompts import LENGTHS, LengthName, Style
from pipelines.summarization.results import SummaryResult, SummaryUpdate
from pipelines.text import check_text, require_kind, room_for_text, run_info, split_text, stopping

if TYPE_CHECKING:
    from engine.engine import Engine

Bounds = tuple[int, int]  # fewest and most tokens
REPLACED = "The model's own words {fault}, so these are sentences of the text itself."
PARTS_REPLACED = (
    "In {count} of the parts read, the text's own sentences took the place of the model's, which did not hold."
)
ONE_LENGTH = "The adapter has learnt one length, which is medium: it wrote as for that, up to the tokens asked for."
BARE_BULLETS = "The adapter has learnt prose alone: the bare model wrote these bullets."
LOOPED = "The model began to repeat itself and was stopped there; what it said twice stands once."


class SummarizationPipeline:
    """Writes a summary with the engine's model.

    A text that fits the window is read whole. A longer one is cut at paragraph or sentence ends into parts that fit,
    each part is summarized, and the summaries are summarized again until one is left (map-reduce). Nothing is left
    out unread.

    What a causal model wrote is held against its text; where it does not hold, sentences of the text take its place,
    and a note says why (see `pipelines.summarization.check`).

    Parameters
    ----------
    engine : a loaded `engine.engine.Engine` of kind "causal" or "seq2seq".
    check : False leaves the model's words as they are.
    adapter : folder of an adapter that has learnt summarization (`brisk train-adapter`); it writes in prose.

    Raises
    ------
    BadModel, BadRequest : see `pipelines.adapter.read_adapter`.
    """

    def __init__(self, engine: Engine, *, check: bool = True, adapter: str | Path | None = None) -> None:
        require_kind(engine, "summarization", "causal", "seq2seq")
        self.engine = engine
        self.adapter = read_adapter(adapter, "summarization")
        self.judge = ClassificationPipeline(engine) if check and engine.info.kind == "causal" else None

    def __call__(
        self, text: str, *, length: LengthName = "medium", style: Style = "prose", bounds: Bounds | None = None
    ) -> SummaryResult:
        """The whole summary at once.

        Parameters
        ----------
        text, length, style, bounds : as for `stream`.

        Returns
        -------
        SummaryResult with `summary_text`, `compression` (words of the text for each word of the summary), `chunks`
        (parts the text was read in) and `draft` (the model's own words where sentences of the text took their place,
        else None).

        Raises
        ------
        BadRequest : as for `stream`.
        """
        result = None
        for update in self.stream(text, length=length, style=style, bounds=bounds):
            result = update.result
        assert result is not None, "the last update carries the result"
        return result

    def stream(
        self, text: str, *, length: LengthName = "medium", style: Style = "prose", bounds: Bounds | None = None
    ) -> Iterator[SummaryUpdate]:
        """The summary so far after every token.

        Parameters
        ----------
        text : a text of any length.
        length : how much is asked for, see `LENGTHS`; never more tokens than the text has.
        style : "prose" is one paragraph; "bullets" are lines that start with "- ".
        bounds : fewest and most tokens the model writes; None takes those of the length.

        Returns
        -------
        An iterator of SummaryUpdate, the last one with the whole `result`. Closing it stops the engine.

        Raises
        ------
        BadRequest : empty or unreadable text, unknown length or style, or a window too small for any text.
            Raised at the call, before the first update.
        """
        text = check_text(text).strip()
        if length not in LENGTHS:
            raise BadRequest(f"The length '{length}' is unknown: choose one of {', '.join(LENGTHS)}.")
        if style not in get_args(Style):
            raise BadRequest(f"The style '{style}' is unknown: choose {' or '.join(get_args(Style))}.")
        tokens = len(self.engine.tokenizer.encode(text))
        params = self._params(length, tokens, bounds)
        room = room_for_text(self.engine, beside=len(self._prompt("", length, style)) + 2, max_tokens=params.max_tokens)
        return self._updates(text, length, style, params, room)

    def _params(self, length: LengthName, text_tokens: int, bounds: Bounds | None) -> SamplingParams:
        """Greedy: a summary should not change from one run to the next."""
        window = self.engine.info.max_context // 4
        if bounds is None:
            usual = LENGTHS[length]
            most = max(16, min(usual.max_tokens, text_tokens, window))
            least = min(usual.min_tokens, most // 4)
        else:
            most = min(bounds[1], window)
            least = min(bounds[0], most)
        return SamplingParams(max_tokens=most, min_tokens=least, no_repeat_ngram_size=prompts.NO_REPEAT_NGRAM_SIZE)

    def _prompt(self, text: str, length: LengthName, style: Style) -> list[int]:
        tokenizer = self.engine.tokenizer
        if self.engine.info.kind == "seq2seq":
            return tokenizer.encode(prompts.SEQ2SEQ_PREFIX.get(self.engine.info.family, "") + text)
        if not is_chat(self.engine):
            return text_prompt(self.engine, text, prompts.PLAIN[style])
        instruction = (prompts.PROSE if style == "prose" else prompts.BULLETS).format(length=LENGTHS[length])
        # The answer opens with a bullet where bullets are wanted.
        return text_prompt(self.engine, text, instruction, reply="-" if style == "bullets" else "")

    def _updates(
        self, text: str, length: LengthName, style: Style, params: SamplingParams, room: int
    ) -> Iterator[SummaryUpdate]:
        timings: list[Timing] = []
        notes: list[str] = []
        if self.adapter and (style != "prose" or length != "medium"):
            notes.append(ONE_LENGTH if style == "prose" else BARE_BULLETS)
        faults: list[str] = []
        draft: str | None = None
        parts = split_text(self.engine.tokenizer, text, room)
        read, done, fraction = len(parts), 0, 0.0
        while True:
            final = len(parts) == 1
            summaries: list[str] = []
            for i, part in enumerate(parts):
                stage = self._stage(i, len(parts), read, merging=done >= read)
                yield SummaryUpdate("\n".join(summaries), stage, fraction)
                left = len(parts) - i + (0 if final else 1)
                summary, timing = "", Timing(prompt_tokens=0)
                # Parts of a longer text are summarized in prose whatever the style: points are made at the end.
                for summary, timing in self._write(part, length, style if final else "prose", params):
                    fraction = max(fraction, (done + timing.new_tokens / params.max_tokens) / (done + left))
                    info = run_info(self.engine, total_timing([*timings, timing]))
                    yield SummaryUpdate("\n".join([*summaries, summary]), stage, min(1.0, fraction), info)
                timings.append(timing)
                fault = None
                if self.judge is not None:
                    yield SummaryUpdate("\n".join([*summaries, summary]), "checking", min(1.0, fraction), info)
                    check, own = Check(self.judge, part), summary
                    fault = check.fault(own)
                    summary = own if fault is None else self._extracted(check, length, style if final else "prose")
                    timings += check.timings
                if fault is not None:
                    faults.append(fault)
                    draft = own if final else None
                elif timing.finish_reason == "cancelled" and LOOPED not in notes:
                    notes.append(LOOPED)
                summaries.append(summary)
                done += 1
            joined = "\n".join(summary for summary in summaries if summary)
            merged = split_text(self.engine.tokenizer, joined, room)
            if final or not joined:
                break
            if len(merged) >= len(parts):
                notes.append("The summaries of the parts could not be merged further, so they stand one after another.")
                break
            parts = merged
        if draft is not None:
            notes.append(REPLACED.format(fault=faults.pop()))
        if faults:
            notes.append(PARTS_REPLACED.format(count=len(faults)))
        total = replace(total_timing(timings), finish_reason=timing.finish_reason)
        info = run_info(self.engine, total, notes=notes)
        result = SummaryResult(joined, len(text.split()) / max(1, len(joined.split())), read, info, draft)
        yield SummaryUpdate(joined, "done", 1.0, info, result)

    @staticmethod
    def _extracted(check: Check, length: LengthName, style: Style) -> str:
        if style == "bullets":
            return "\n".join(f"- {sentence}" for sentence in check.sentences(LENGTHS[length].points))
        return " ".join(check.sentences(LENGTHS[length].extracted))

    @staticmethod
    def _stage(index: int, count: int, read: int, *, merging: bool) -> str:
        if merging:
            return "merging" if count == 1 else f"merging {index + 1} of {count}"
        return "reading" if read == 1 else f"part {index + 1} of {read}"

    def _write(
        self, text: str, length: LengthName, style: Style, params: SamplingParams
    ) -> Iterator[tuple[str, Timing]]:
        """The tidied summary of one text that fits, after each token; "cancelled" when it looped."""
        written, timing = "", Timing(prompt_tokens=0)
        adapter = self.adapter.folder if self.adapter and style == "prose" else None
        prompt = self._prompt(text, "medium" if adapter else length, style)  # it knows one instruction
        with stopping(self.engine.stream(prompt, params, adapter=adapter)) as tokens:
            for token in tokens:
                written += token.text
                timing = token.timing or timing
                if timing.finish_reason is None and tidy.is_looping(written):
                    timing = replace(timing, finish_reason="cancelled")
                yield self._tidy(written, text, length, style, timing), timing
                if timing.finish_reason == "cancelled":
                    return

    def _tidy(self, written: str, text: str, length: LengthName, style: Style, timing: Timing) -> str:
        finished, cut = timing.finish_reason is not None, timing.finish_reason in ("length", "cancelled")
        if style == "bullets":
            return tidy.bullets(written, LENGTHS[length].points, finished=finished, cut=cut, source=text)
        return tidy.prose(written, finished=finished, cut=cut, source=text)
