"""Classification by any labels: which of them does the model expect to read after the text?"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logsumexp, softmax

from engine.errors import BadRequest
from engine.results import Timing
from pipelines.adapter import TaskAdapter, folder_of, read_adapter
from pipelines.classification import templates
from pipelines.classification.heads import Head, load_head
from pipelines.classification.ngram_head import NgramHead
from pipelines.classification.results import ClassificationResult, LabelScore
from pipelines.prompt import text_prompt
from pipelines.results import RunInfo, Shortened, total_timing
from pipelines.text import check_text, require_kind, room_for_text, run_info, shorten_text

if TYPE_CHECKING:
    from engine.engine import Engine

DEFAULT_LABELS = ("positive", "negative")
MAX_LABELS = 64
MAX_LABEL_CHARACTERS = 200


@dataclass(frozen=True)
class Judgement:
    """What the model thinks of each label of one text.

    Attributes
    ----------
    raw, calibrated : probabilities f64 [labels], in the order asked, before and after calibration.
    logprobs : f64 [labels], the whole log-probability of each label after the text.
    info : how the request went.
    """

    raw: np.ndarray
    calibrated: np.ndarray
    logprobs: np.ndarray
    info: RunInfo


class ClassificationPipeline:
    """Scores labels for a text.

    A causal model reads the text once and is asked how likely each label is as the next words (see `templates`).

    - One of many (the default): scores sum to 1. Raw, a label of several tokens is judged by its mean log-probability
      a token, for a longer one would otherwise always lose. Calibrated (Zhao et al. 2021), by its whole
      log-probability less the one it has after content-free inputs: its length weighs on both and cancels out.
    - `multi_label`: each label on its own, p / (p + p_cf), where p is its probability after the text and p_cf its mean
      probability after the content-free inputs: above 0.5, the text made it likelier.

    A sequence-classification model (kind "classification") gives its own labels instead, and so does a trained head
    (see `heads`).

    Parameters
    ----------
    engine : a loaded `engine.engine.Engine` of kind "causal", "seq2seq" or "classification".
    adapter : folder of an adapter that has learnt classification (`brisk train-adapter`): its own labels are scored.

    Raises
    ------
    BadModel, BadRequest : see `pipelines.adapter.read_adapter`.
    """

    def __init__(self, engine: Engine, *, adapter: str | Path | None = None) -> None:
        require_kind(engine, "classification", "causal", "seq2seq", "classification")
        self.engine = engine
        self.adapter = read_adapter(adapter, "classification")
        self._folder = folder_of(self.adapter)
        self._priors: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
        self._lock = threading.Lock()

    def __call__(
        self,
        text: str,
        labels: Sequence[str] = DEFAULT_LABELS,
        *,
        multi_label: bool = False,
        calibrate: bool = True,
        head: Head | NgramHead | str | None = None,
    ) -> ClassificationResult:
        """The labels with their scores.

        Parameters
        ----------
        text : the text to judge. One over the window is shortened to its head and tail, and `info.shortened` says by
            how much.
        labels : 2 to `MAX_LABELS` different words or phrases (1 is enough with `multi_label`). A model or a head that
            has labels of its own does not use them, and a note says so.
        multi_label : judge each label on its own instead of against the others.
        calibrate : correct for what the model prefers before it reads the text. Labels judged one by one are always
            compared with the content-free inputs, so it changes nothing for them.
        head : a trained head, its name, or the path of its JSON file; its own labels are scored.

        Returns
        -------
        ClassificationResult whose `scores` are `{"label", "score"}` for each label, the highest first, from 0 to 1;
        they sum to 1 without `multi_label`.

        Raises
        ------
        BadRequest : empty or unreadable text; no labels, a repeated or empty one, more than `MAX_LABELS`; a single
            label without `multi_label`; a head of another model.
        UserError : no such head.
        """
        text = check_text(text)
        if head is not None and self.adapter is not None:
            raise BadRequest("A head and an adapter are given, and each has labels of its own: give one of them.")
        if head is not None:
            return self._by_head(text, labels, load_head(head) if isinstance(head, str) else head)
        if self.engine.info.kind == "classification":
            return self._by_model(text, labels)
        if self.adapter is not None:
            return self._by_adapter(text, labels, self.adapter, multi_label)
        judgement = self.judge(text, labels, multi_label=multi_label)
        chosen = judgement.calibrated if calibrate else judgement.raw
        return ClassificationResult(
            _sorted(list(zip(_checked(labels, multi_label), chosen, strict=True))), judgement.info
        )

    def judge(self, text: str, labels: Sequence[str] = DEFAULT_LABELS, *, multi_label: bool = False) -> Judgement:
        """Raw and calibrated probabilities from the same forward pass.

        Parameters
        ----------
        text, labels, multi_label : as for the call.

        Raises
        ------
        BadRequest : as for the call.
        """
        text = check_text(text)
        names = _checked(labels, multi_label)
        choices = tuple(templates.CHOICE.format(label=name) for name in names)
        tokenizer = self.engine.tokenizer
        encoded = [tokenizer.encode(choice, add_bos=False) for choice in choices]
        beside = len(text_prompt(self.engine, "", templates.INSTRUCTION)) + 2  # two seams may split anew
        room = room_for_text(self.engine, beside=beside, max_tokens=max(map(len, encoded)))
        short, shortened = shorten_text(tokenizer, text, room)
        logprobs, timing = self._score(short, encoded)
        prior, unread = self._prior(choices, encoded)  # [content-free inputs, choices]
        timing = total_timing([timing, *unread])
        lengths = np.array([len(ids) for ids in encoded])
        if multi_label:
            raw = calibrated = expit(logprobs - _log_mean(prior))
        else:
            raw = softmax(logprobs / lengths)
            shares = prior - logsumexp(prior, axis=1, keepdims=True)
            calibrated = softmax(logprobs - _log_mean(shares))
        return Judgement(raw, calibrated, logprobs, run_info(self.engine, timing, shortened))

    def _score(self, text: str, choices: Sequence[Sequence[int]]) -> tuple[np.ndarray, Timing]:
        prompt = text_prompt(self.engine, text, templates.INSTRUCTION)
        [scores] = self.engine.score([prompt], choices, adapter=self._folder)
        return np.array(scores.logprobs, dtype=np.float64), scores.timing

    def _prior(self, choices: tuple[str, ...], encoded: Sequence[Sequence[int]]) -> tuple[np.ndarray, list[Timing]]:
        """Log-probabilities of the choices after each content-free input, f64 [inputs, choices], and the work that
        took: none where they are known from before."""
        key = (templates.INSTRUCTION, choices)
        with self._lock:
            known = self._priors.get(key)
        if known is not None:
            return known, []
        scored = [self._score(text, encoded) for text in templates.CONTENT_FREE]  # two threads may: the same numbers
        known = np.stack([logprobs for logprobs, _ in scored])
        with self._lock:
            if len(self._priors) >= MAX_PRIORS:
                self._priors.pop(next(iter(self._priors)))
            self._priors[key] = known
        return known, [timing for _, timing in scored]

    def _by_adapter(
        self, text: str, labels: Sequence[str], adapter: TaskAdapter, multi_label: bool
    ) -> ClassificationResult:
        """The labels that an adapter has learnt, those asked for where it notes none."""
        names = adapter.labels or tuple(_checked(labels, multi_label=False))
        encoded = [self.engine.tokenizer.encode(templates.CHOICE.format(label=name), add_bos=False) for name in names]
        beside = len(text_prompt(self.engine, "", templates.INSTRUCTION)) + 2  # two seams may split anew
        room = room_for_text(self.engine, beside=beside, max_tokens=max(map(len, encoded)))
        short, shortened = shorten_text(self.engine.tokenizer, text, room)
        logprobs, timing = self._score(short, encoded)
        scores = softmax(logprobs)
        notes = []
        if adapter.labels and tuple(labels) != DEFAULT_LABELS and set(labels) != set(names):
            notes.append(f"The adapter knows only its own labels ({', '.join(names)}): those asked for were not used.")
        if multi_label:
            notes.append("The adapter judges its labels against one another, and not each for itself.")
        info = run_info(self.engine, timing, shortened, notes)
        return ClassificationResult(_sorted(list(zip(names, scores.tolist(), strict=True))), info)

    def _by_model(self, text: str, labels: Sequence[str]) -> ClassificationResult:
        """A sequence-classification model's own labels; other labels asked for are named in a note."""
        tokenizer = self.engine.tokenizer
        room = room_for_text(self.engine, beside=2, max_tokens=0)  # begin and end marks of an encoder
        short, shortened = shorten_text(tokenizer, text, room)
        began = time.perf_counter()
        [scores] = self.engine.classify([short])
        seconds = time.perf_counter() - began
        tokens = len(tokenizer.encode(short))
        return self._own_labels(self.engine.info.model, scores, labels, tokens, seconds, shortened)

    def _by_head(self, text: str, labels: Sequence[str], head: Head | NgramHead) -> ClassificationResult:
        """A trained head's own labels."""
        began = time.perf_counter()
        found, tokens, shortened = head.read(self.engine, text)
        seconds = time.perf_counter() - began
        scores = dict(zip(head.labels, found.tolist(), strict=True))
        return self._own_labels(f"The head '{head.name}'", scores, labels, tokens, seconds, shortened, head.note())

    def _own_labels(
        self,
        whose: str,
        scores: dict[str, float],
        asked: Sequence[str],
        tokens: int,
        seconds: float,
        shortened: Shortened | None,
        note: str = "",
    ) -> ClassificationResult:
        """Scores of labels that were learnt; others that were asked for are named in a note."""
        timing = Timing(tokens, ttft_s=seconds, prefill_s=seconds)
        notes = [note] if note else []
        if tuple(asked) != DEFAULT_LABELS and set(asked) != set(scores):
            notes.append(f"{whose} knows only its own labels ({', '.join(scores)}): those asked for were not used.")
        return ClassificationResult(_sorted(list(scores.items())), run_info(self.engine, timing, shortened, notes))


MAX_PRIORS = 256  # label lists whose calibration is remembered


def _log_mean(logprobs: np.ndarray) -> np.ndarray:
    """Log of the mean probability over content-free inputs: f64 [inputs, choices] -> [choices]."""
    return logsumexp(logprobs, axis=0) - np.log(len(logprobs))


def _sorted(scored: list[tuple[str, float]]) -> list[LabelScore]:
    return [LabelScore(label=label, score=float(score)) for label, score in sorted(scored, key=lambda row: -row[1])]


def _checked(labels: Sequence[str], multi_label: bool) -> list[str]:
    """The labels without white space around them, or BadRequest."""
    if isinstance(labels, str) or not labels:
        raise BadRequest("There are no labels: give at least two, such as positive and negative.")
    if len(labels) > MAX_LABELS:
        raise BadRequest(f"There are {len(labels)} labels, and at most {MAX_LABELS} are scored: give fewer.")
    names = [check_text(label, "label", limit=MAX_LABEL_CHARACTERS).strip() for label in labels]
    repeated = sorted({name for name in names if [n.casefold() for n in names].count(name.casefold()) > 1})
    if repeated:
        raise BadRequest(f"The label '{repeated[0]}' is given more than once: give different labels.")
    if len(names) == 1 and not multi_label:
        raise BadRequest(
            f"'{names[0]}' is the only label, so it would always win: give another, or judge labels one by one."
        )
    return names
