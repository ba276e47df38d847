"""The engine: text in; tokens, scores and vectors out. It knows no task and no screen.

    engine = Engine(EngineConfig(precision="int8"))
    engine.generate("The film was", SamplingParams(max_tokens=32))[0].text

Any thread may call; one thread of the engine's own runs the model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from torch import Tensor

from engine.backends.base import EncoderHeads
from engine.cache.prefix import PrefixTree
from engine.config import EngineConfig, SamplingParams
from engine.errors import BadRequest
from engine.model.adapters.pool import Block
from engine.model.adapters.shelf import Adapter, held
from engine.results import Completion, EngineInfo, ModelKind, Scores, SpanSearch, Token, TokenLogprobs
from engine.serving.cancellation import Cancellation, current
from engine.serving.jobs import Jobs
from engine.serving.leases import Leases
from engine.serving.prefill import Prefiller
from engine.serving.request import Inputs, Prompt, Request, many
from engine.serving.scheduler import Closed, Scheduler
from engine.serving.warming import Warming

log = logging.getLogger(__name__)

OnProgress = Callable[[str, float | None], None]


class Engine:
    """A loaded model, this caller's own; `shared_engine` gives one to many. A context manager that closes it.

    Attributes
    ----------
    config : what was asked for.
    info : what is loaded, in words.
    tokenizer : text to token ids and back.

    Parameters
    ----------
    config : what to load; the default model in int8 where nothing is said.
    on_progress : called as `on_progress(message, share)` while it loads; share is 0 to 1, or None where it is unknown.
    wait : for the operators where they are not compiled yet. False: plain PyTorch answers until another process has
        compiled them, and what is loaded says so; a text begun before may go on in the other arithmetic.

    Raises
    ------
    BadModel : the model cannot be loaded.
    BadRequest : the config cannot be met.
    """

    def __init__(
        self, config: EngineConfig | None = None, on_progress: OnProgress | None = None, wait: bool = True
    ) -> None:
        from engine.loading import load

        began = time.perf_counter()
        config, tell = config or EngineConfig(), on_progress or (lambda message, share: None)
        loaded = load(config, tell)
        self.config, self.tokenizer, self._backend = config, loaded.tokenizer, loaded.backend
        keeps = config.kv_cache and config.prefix_cache_mb and loaded.backend.reuses
        self._prefill = Prefiller(loaded.backend, PrefixTree(config.prefix_cache_mb * 1_000_000) if keeps else None)
        self._jobs = Jobs(loaded.backend, self._prefill, config.max_batch)
        self._scheduler = Scheduler(
            loaded.backend, config.max_batch, config.kv_cache, loaded.on_thread, self._prefill, config.speculation
        )
        self._inputs = Inputs(loaded.tokenizer, loaded.backend.vocabulary, loaded.info.max_context)
        self._closed, self._end = False, self._free
        self._warming = Warming(loaded.backend, self._prefill, self._scheduler)
        try:
            if wait or not self._warming.begin():
                tell("Preparing the decode kernels (compiled once on a machine, about a minute)", None)
                self._warming.now()
            self._info = replace(loaded.info, load_s=time.perf_counter() - began)
            tell("Ready", 1.0)
        except BaseException:  # a progress callback may raise to give up
            self._end()
            raise
        log.info("loaded %s: %s", self.info.model, self.info.source)

    @property
    def info(self) -> EngineInfo:
        """What is loaded, in words, as it is now."""
        return self._info.now(self._backend)

    @property
    def steps(self) -> int:
        """Forward steps run so far, prompts' chunks and jobs' steps included."""
        return self._scheduler.steps

    @property
    def prompt_tokens_computed(self) -> int:
        """Prompt tokens run since the engine was loaded, of generation, scoring and search (with the KV cache on)."""
        return self._prefill.computed

    @property
    def prompt_tokens_reused(self) -> int:
        """Prompt tokens copied from the prefix tree instead, since the engine was loaded."""
        return self._prefill.reused

    def reset_prefix_cache(self) -> None:
        """Forget every prompt that is not being run now: what comes next is read as by a new engine."""
        if self._prefill.tree is not None:
            self._scheduler.call(self._prefill.tree.clear)

    def close(self) -> None:
        """Free the engine: requests under way end with an error, and no more are taken. Closing again does nothing.

        One of `shared_engine` is only given back, which frees what is loaded where it was the last.
        """
        self._closed = True
        self._end()

    def _free(self) -> None:
        self._scheduler.close()
        self._warming.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- generation

    def generate(
        self, prompts: Prompt | Sequence[Prompt], params: SamplingParams | None = None, *, adapter: Adapter = None
    ) -> list[Completion]:
        """Continue each prompt (text as it is, or token ids); batched, in the order given.

        Parameters
        ----------
        prompts, params : what is continued, and how.
        adapter : folder of a task adapter (LoRA as `peft` saves it) that the model reads and writes with. Requests of
            different adapters, and of none, run in one batch.

        Raises
        ------
        BadRequest : an empty prompt, one that leaves no room for `max_tokens` in the window, or one that does not hold
            the tokens which an activated adapter waits for.
        BadModel : the adapter cannot be read, or is of another model.
        """
        self._need("causal", "seq2seq")
        call = Cancellation(current())
        with self._adapted(adapter) as block:
            requests = [self._inputs.request(prompt, params, call, block) for prompt in many(prompts)]
            return self._scheduler.complete(requests, call)

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, *, adapter: Adapter = None
    ) -> Iterator[Token]:
        """Tokens as they come, each with the timing so far. Closing the iterator stops the work within one step.

        Parameters
        ----------
        prompt, params, adapter : as for `generate`, which says what is raised.
        """
        self._need("causal", "seq2seq")
        holding = ExitStack()
        try:  # a bad request raises here, not at the first token
            block = holding.enter_context(self._adapted(adapter))
            request = self._inputs.request(prompt, params, None, block)
        except BaseException:
            holding.close()
            raise
        return self._stream(request, holding)

    def _stream(self, request: Request, holding: ExitStack) -> Generator[Token, None, None]:
        with holding:
            self._scheduler.submit(request)
            try:
                yield from request.stream()
            finally:
                request.cancellation.cancel()

    def _adapted(self, adapter: Adapter) -> AbstractContextManager[Block | None]:
        """An adapter, held in memory meanwhile."""
        if adapter is None:
            return nullcontext()
        return held(self._backend.shelf, adapter, self._scheduler.call, self.info.model)

    # ---- scoring, search, features

    def score(
        self, prompts: Prompt | Sequence[Prompt], choices: Sequence[Prompt], *, adapter: Adapter = None
    ) -> list[Scores]:
        """Log-probability of each choice after each prompt. A prompt is run once; its choices share it.

        Prompt and choice are tokenized apart: begin a choice with a space where the text would have one.

        Parameters
        ----------
        prompts, choices : texts or token ids.
        adapter : as for `generate`.
        """
        self._need("causal", "seq2seq")
        tokens = [self._inputs.tokens(choice, "choice") for choice in many(choices)]
        longest = max(map(len, tokens), default=0)
        with self._adapted(adapter) as block:
            ids = [self._inputs.ids(prompt, longest, adapter=block) for prompt in many(prompts)]
            return [self._scheduler.run(self._jobs.score(prompt, tokens, block)) for prompt in ids]

    def spans(
        self, prompt: Prompt, allowed: Sequence[int], *, top_k: int = 1, max_tokens: int = 32, end: Prompt = "\n",
        adapter: Adapter = None,
    ) -> SpanSearch:  # fmt: skip
        """The likeliest runs of given tokens after a prompt, best first (see `decoding.spans`).

        Parameters
        ----------
        prompt : text or token ids.
        allowed : token ids of the text that answers are runs of.
        top_k : most answers to give.
        max_tokens : longest answer.
        end : an answer ends where the model would say the first token of this, or end-of-text.
        adapter : as for `generate`.
        """
        self._need("causal", "seq2seq")
        context = self._inputs.context(allowed)
        ends = self._inputs.ends(end)
        with self._adapted(adapter) as block:
            ids = self._inputs.ids(prompt, max_tokens, adapter=block)
            return self._scheduler.run(self._jobs.search(ids, context, ends, top_k, max_tokens, block))

    def embed(
        self, texts: Prompt | Sequence[Prompt], layer: int = -1, pooling: Literal["mean", "last"] = "mean"
    ) -> np.ndarray:
        """Pooled hidden states, f32 [n, D].

        Parameters
        ----------
        texts : one or many, each as text or token ids.
        layer : counts as Transformers' hidden_states do: 0 is the embedding, k stops after k layers and costs only
            those, the last (or -1) is after all and the last norm.
        pooling : the mean over a text's tokens, or its last token's state.
        """
        self._need("causal")
        read = [self._inputs.ids(text) for text in many(texts)]
        rows = [self._scheduler.run(self._jobs.features(ids, layer, pooling)) for ids in read]
        return np.stack(rows) if rows else np.zeros((0, self.info.hidden), np.float32)

    def keys_values(self, prompt: Prompt) -> tuple[Tensor, Tensor]:
        """Keys and values f32 [L, G, n, E] of a prompt as the bare model reads it: what an adapter learns behind."""
        self._need("causal")
        return self._scheduler.run(self._jobs.keys_values(self._inputs.ids(prompt)))

    def logprobs(self, texts: Prompt | Sequence[Prompt]) -> list[TokenLogprobs]:
        """Log-probability of each token of each text given those before it."""
        self._need("causal")
        read = [self._inputs.ids(text) for text in many(texts)]
        return [TokenLogprobs(np.asarray(ids, np.int64), self._scheduler.run(self._jobs.logprobs(ids))) for ids in read]

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Probability of each of the model's own labels; for sequence-classification models."""
        heads = self._heads("classification")
        return [self._scheduler.call(partial(heads.classify, text)) for text in texts]

    def answer(
        self, question: str, context: str, *, top_k: int = 1, max_answer_tokens: int = 32
    ) -> tuple[list[tuple[int, int, float]], float]:
        """Answers found in a context, for extractive question-answering models.

        Parameters
        ----------
        question, context : texts; a context over the window is read in overlapping parts.
        top_k : most answers to give.
        max_answer_tokens : longest answer.

        Returns
        -------
        spans : (first character, character after the last, probability) of each answer, best first.
        none : probability that the context holds no answer.
        """
        heads = self._heads("question-answering")
        return self._scheduler.call(partial(heads.answer, question, context, top_k, max_answer_tokens))

    def max_prompt(self, max_tokens: int) -> int:
        """Prompt tokens that fit beside `max_tokens` of output."""
        return self.info.max_context - max_tokens

    # ---- what comes in

    def _need(self, *kinds: str) -> None:
        if self._closed:
            raise Closed
        if self.info.kind not in kinds:
            raise BadRequest(f"{self.info.model} is a {self.info.kind} model: this call needs {' or '.join(kinds)}.")

    def _heads(self, kind: ModelKind) -> EncoderHeads:
        self._need(kind)
        assert self._backend.heads is not None  # as every model of such a kind has
        return self._backend.heads


_leases: Leases[EngineConfig, Engine] = Leases()


def shared_engine(
    config: EngineConfig | None = None, on_progress: OnProgress | None = None, wait: bool = True
) -> Engine:
    """The one engine that all who ask with an equal config share, loaded by the first of them.

    What it gives is this caller's own to close, once or often: the others go on, and what is loaded is freed with the
    last. Raises what `Engine` does.

    Parameters
    ----------
    config, on_progress : as `Engine` takes them.
    wait : for the operators where they are not compiled yet, whoever has loaded the engine; False as for `Engine`.
    """
    config = config or EngineConfig()
    lease = _leases.take(config, lambda: Engine(config, on_progress, wait))
    if wait:
        lease.value._warming.wait()
    engine = copy(lease.value)  # all parts are the loaded engine's; only its end is this caller's
    engine._end = lease.close
    return engine
