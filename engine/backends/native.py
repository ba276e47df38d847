"""Our own decoder as a backend: on a CPU by the compiled kernels, elsewhere and without them in torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from engine.backends.base import JOB_SLOTS, MAX_ROWS, Backend
from engine.backends.dtypes import compute_dtype, precision_name
from engine.cache.prefix import KVRun
from engine.cache.static import StaticCache, stored_precision
from engine.config import EngineConfig
from engine.errors import BadRequest
from engine.model.adapters.pool import Block, Pool, fits
from engine.model.adapters.shelf import Shelf
from engine.model.build import BuildOptions
from engine.model.decoder import Decoder, Segment
from engine.model.families import Architecture
from engine.model.onednn import fastest
from engine.model.parameters import Parameters
from engine.results import log_softmax
from engine.weights import ModelFiles
from engine.weights.converted import load_parameters

if TYPE_CHECKING:
    from engine.kernels.compilation import Compilation
    from engine.kernels.compiled import CompiledModel

log = logging.getLogger(__name__)

# Tokens of a prompt run at once by the compiled prefill. Its work space grows with them, 24 KB each. Weights of whole
# numbers: 512 are no faster, 128 are 8 % slower. Floats are read and laid out anew for each chunk, four times as many
# bytes or twice: 256 are 4 % slower. The scheduler gives no more at once.
CHUNK, FLOAT_CHUNK = 256, 512

# Up to this many tokens that end a prompt (its beginning was reused) take the decode step, which reads weights as they
# are stored; torch would widen them all first. With integer prefill no weight is widened, and its own numbers are kept.
SHORT = 8


class NativeBackend(Backend):
    """A model of one of our families on one device.

    Parameters
    ----------
    arch, files : the model: its sizes, and where its weights are.
    config : of it precision, kv_precision, prefill, kernels, max_context and max_batch are used.
    device : where weights are and prompts are computed.
    threads : CPU threads of the compiled kernels.
    on_share : hears the share of the weights that is loaded, 0 to 1.

    Raises BadRequest where max_context is longer than the model's window, and as `load_parameters` does.
    """

    name = "native"
    kind = "causal"
    heads = None
    reuses = True

    def __init__(
        self,
        arch: Architecture,
        files: ModelFiles,
        config: EngineConfig,
        device: torch.device,
        threads: int,
        on_share: Callable[[float], None] | None = None,
    ) -> None:
        if config.max_context > arch.context:
            raise BadRequest(f"max_context is {config.max_context}: this model's window is {arch.context} tokens.")
        self.arch = arch
        self.layers, self.width, self.vocabulary = arch.layers, arch.hidden, arch.vocabulary
        self.max_context = config.max_context or min(arch.context, 4096)
        self.notes: list[str] = list(arch.notes)
        dtype = compute_dtype(device, config.precision)
        self.params = load_parameters(
            arch, files, BuildOptions(config.precision, self.max_context, device, dtype), on_share
        )
        self.parameters, self.nbytes = self.params.count(), self.params.nbytes()
        slots = config.max_batch + JOB_SLOTS
        self.cache = StaticCache(
            arch.layers, slots, arch.kv_heads, self.max_context, arch.head_dim, dtype, device,
            stored_precision(config.kv_precision, config.precision),
        )  # fmt: skip
        self._adapted: list[tuple[Block, int] | None] = [None] * slots
        self._whole = self.params.qkv.weight.dtype in (torch.int8, torch.uint8)  # weights are whole numbers
        self._chunk = CHUNK if self._whole else FLOAT_CHUNK
        self._use_kernels = config.kernels and device.type == "cpu"
        pool = None
        if config.adapter_mb and fits(arch) and device.type == "cpu":
            stored = torch.float32 if config.precision == "fp32" else torch.float16
            pool = Pool(arch, config.adapter_mb * 1_000_000, stored)
            self.shelf = Shelf(arch, pool)
        self._pool = pool
        self._decoder = Decoder(arch, self.params, self.cache, fastest() if self._use_kernels else F.linear, pool)
        self._threads = threads
        self._compiled: CompiledModel | None = None
        self._compilation: Compilation | None = None
        self._compiled_prefill = False
        self.kv_precision, self.prefill = self.cache.precision, precision_name(dtype)
        self._prefill, self._model = config.prefill, f"{files.name} {config.precision}"

    def begin(self) -> Compilation | None:
        if not self._use_kernels:
            return None
        try:
            from engine.kernels.compilation import Compilation, is_kept, types_of
            from engine.kernels.compiled import arguments

            types = types_of(arguments(*self._binding()))
            if is_kept(types):
                return None
            self._compilation = Compilation(types)
        except (ImportError, OSError, RuntimeError) as error:
            log.info("no other process compiles the operators (%s)", error)  # `warm` tries, and says what it meets
            return None
        self.compiling = True
        return self._compilation

    def warm(self) -> Generator[None, None, None]:
        """Load or compile the operators; where they cannot run, everything stays in torch and `notes` says why."""
        if not self._use_kernels:
            return
        try:
            if self._compilation is not None:
                self._compilation.check()
            yield from self._compile()
        except (ImportError, OSError, RuntimeError) as error:
            self._compiled, self._compiled_prefill = None, False
            note = f"Everything runs in plain torch, slower: the compiled kernels could not be used here ({error})."
            log.warning(note)
            self.notes.append(note)
        self.compiling = False

    def _binding(self) -> tuple[Architecture, Parameters, StaticCache, int, int, int, int, Pool | None]:
        """What the operators are bound to, as `CompiledModel` takes it."""
        from engine.kernels.rounding import fewest_bits

        bits = 8 if self._prefill == "int8" else 16
        if self._prefill == "auto" and self._whole:
            bits = fewest_bits(self.params.qkv.weight[:0].numpy().dtype)
        return self.arch, self.params, self.cache, self._threads, MAX_ROWS, self._chunk, bits, self._pool

    def _compile(self) -> Generator[None, None, None]:
        from numba.core.errors import NumbaError

        from engine.kernels import tiers
        from engine.kernels.choice import choose_prefill
        from engine.kernels.compiled import CompiledModel

        if note := tiers.note():
            self.notes.append(note)
        *_, bits, _ = binding = self._binding()
        try:
            self._compiled = CompiledModel(*binding)
            zero = np.zeros(1, np.int64)
            spare = self.cache.keys.shape[1] - 1
            self._compiled(zero, zero, np.array([spare]))
            self._compiled.logits(np.zeros((1, self.arch.hidden), np.float32))
            self._compiled_prefill = yield from choose_prefill(
                self._prefill if self._whole else "auto",
                lambda ids: self._run(spare, 0, ids, self.arch.layers, 1, compiled=True),
                lambda ids: self._run(spare, 0, ids, self.arch.layers, 1, compiled=False),
                f"{self._model}, {self._threads} threads"
                + (f", activations of {bits} bits" if self._whole else "")
                + (f", as {tiers.played()}" if tiers.played() else ""),
                str(self.arch), self.max_context,
            )  # fmt: skip
            if self._compiled_prefill and self._whole:
                self.prefill = f"int{bits}"
        except NumbaError as error:
            raise RuntimeError(str(error)) from error

    def _ids(self, tokens: Sequence[int] | np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(tokens, np.int64)).to(self.cache.keys.device)

    def _run(
        self,
        slot: int,
        start: int,
        tokens: Sequence[int] | np.ndarray,
        layers: int,
        wanted: int | None = None,
        *,
        compiled: bool,
    ) -> torch.Tensor:
        """The residual stream [W, D] of the last W = `wanted` tokens (None: of all) after `layers` layers, not normed;
        tokens go to the slot from `start` on."""
        count = len(tokens)
        wanted = count if wanted is None else wanted
        ids = np.asarray(tokens, np.int64)
        cuts = self._cuts(slot, start, count, self._chunk if compiled and self._compiled is not None else count)
        if not compiled or self._compiled is None:
            segments = [Segment(slot, start + a, b - a, self._adapter(slot, start + a)) for a, b in pairwise(cuts)]
            return self._decoder.hidden(self._ids(ids), segments, layers, final=False)[count - wanted :]
        parts = []
        for at, end in pairwise(cuts):
            of_part = max(0, min(end - at, end - (count - wanted)))
            adapter = self._adapter(slot, start + at)
            parts.append(self._compiled.prefill(ids[at:end], start + at, slot, layers, of_part, adapter).copy())
        return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def _adapter(self, slot: int, position: int) -> Block | None:
        """What a token of a slot is read with."""
        found = self._adapted[slot]
        return found[0] if found is not None and position >= found[1] else None

    def _cuts(self, slot: int, start: int, count: int, most: int) -> list[int]:
        """Where tokens that are read from `start` on are cut: after `most` of them, and where an adapter begins."""
        found = self._adapted[slot]
        cuts = {count, *range(0, count, most)}
        if found is not None and start < found[1] < start + count:
            cuts.add(found[1] - start)
        return sorted(cuts)

    def _logits(self, residual: torch.Tensor) -> np.ndarray:
        """Logits f32 [R, V] of residual streams [R, D], R at most MAX_ROWS; valid until the next call."""
        if self._compiled is not None:
            return self._compiled.logits(residual.numpy())
        return self._decoder.logits(self._decoder.last_norm(residual)).cpu().numpy()

    def adapt(self, slot: int, adapter: Block | None, begins: int) -> None:
        self._adapted[slot] = (adapter, begins) if adapter is not None else None

    def extend(self, slot: int, start: int, tokens: Sequence[int], logits: bool = True) -> np.ndarray | None:
        if self._compiled is not None and not self._whole and len(tokens) <= min(SHORT, self.rows(start)):
            found = self._compiled(
                np.asarray(tokens, np.int64), np.arange(start, start + len(tokens)), np.full(len(tokens), slot),
                [self._adapter(slot, start + i) for i in range(len(tokens))],
            )  # fmt: skip
            return found[-1] if logits else None
        residual = self._run(slot, start, tokens, self.arch.layers, int(logits), compiled=self._compiled_prefill)
        return self._logits(residual)[0] if logits else None

    def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        adapters = [self._adapter(slot, at) for slot, at in zip(slots.tolist(), positions.tolist(), strict=True)]
        if self._compiled is not None:
            logits = self._compiled(tokens, positions, slots, adapters)
            self.walking = self._compiled.walking if self._compiled.walking < self._threads else 0
            return logits
        segments: list[Segment] = []
        for slot, position, adapter in zip(slots.tolist(), positions.tolist(), adapters, strict=True):
            if segments and segments[-1].slot == slot and segments[-1].adapter == adapter:
                segments[-1] = segments[-1]._replace(tokens=segments[-1].tokens + 1)
            else:
                segments.append(Segment(slot, position, 1, adapter))
        return self._decoder.logits(self._decoder.hidden(self._ids(tokens), segments)).cpu().numpy()

    def likeliest(self) -> np.ndarray | None:
        return None if self._compiled is None else self._compiled.likeliest

    def rows(self, position: int) -> int:
        # The compiled step splits a context between threads: each must find the positions before its own finished.
        return min(MAX_ROWS, 1 + max(0, position - 1) // max(1, self._threads - 1))

    def read(self, slot: int, start: int, end: int) -> KVRun:
        return KVRun(tuple(part[:, slot, :, start:end] for part in self.cache.parts)).compact()

    def keys_values(self, slot: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        layers = [self.cache.load(layer, slot, end) for layer in range(self.layers)]
        keys, values = (torch.stack(parts).float() for parts in zip(*layers, strict=True))
        return keys, values

    def write(self, slot: int, start: int, run: KVRun) -> None:
        for part, kept in zip(self.cache.parts, run.parts, strict=True):
            part[:, slot, :, start : start + run.tokens] = kept

    def fork(self, source: int, target: int, tokens: int) -> None:
        self._adapted[target] = self._adapted[source]
        self.cache.copy(source, target, tokens)

    def logits(self, slot: int, start: int, tokens: Sequence[int]) -> Iterator[np.ndarray]:
        """Logits after every position of a text.

        Parameters
        ----------
        slot : where the text's keys and values go.
        start : position of the first token.
        tokens : one or more ids.

        Returns
        -------
        Blocks f32 [R, V] of up to MAX_ROWS positions, in order, each valid until the next.
        """
        residual = self._run(slot, start, tokens, self.arch.layers, compiled=self._compiled_prefill)
        for block in residual.split(MAX_ROWS):
            yield self._logits(block)

    def token_logprobs(self, slot: int, start: int, tokens: Sequence[int]) -> np.ndarray:
        found = np.empty(len(tokens) - 1, np.float32)
        first = 0
        for block in self.logits(slot, start, tokens[:-1]):
            rows = log_softmax(block)
            next_ids = np.asarray(tokens[first + 1 : first + 1 + len(rows)])
            found[first : first + len(rows)] = rows[np.arange(len(rows)), next_ids]
            first += len(rows)
        return found

    def hidden(self, slot: int, start: int, tokens: Sequence[int], layer: int) -> np.ndarray:
        layers = self.arch.layers if layer == -1 else layer
        residual = self._run(slot, start, tokens, layers, compiled=self._compiled_prefill)
        if layers == self.arch.layers:  # the last entry of Transformers' hidden_states is normed too
            residual = self._decoder.last_norm(residual)
        return residual.float().cpu().numpy()
