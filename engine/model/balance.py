"""Columns made alike before weights are rounded to int8: what a column multiplies is divided by the same factor before.

A row of int8 weights has one scale, so every column of it is rounded as coarsely, although the numbers that some of
them multiply are a hundred times as large as others. Scaling those columns up, and what feeds them down, leaves the
model as it is and moves the rounding to where it matters less (AWQ, Lin et al. 2023, section 3; SmoothQuant, Xiao et
al. 2022). The factors go where a vector or a row of weights already stands: into the norm before a product, and into
the linear half of a gated product before the one that follows it. They are powers of two: in fp32 the balanced model is
the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from engine.cache.static import StaticCache
from engine.model.build import BuildOptions, build_parameters
from engine.model.checkpoint import Checkpoint, State
from engine.model.decoder import Decoder, Segment
from engine.model.families import Architecture
from engine.model.matrix import Matrix
from engine.model.parameters import Parameters

# Tokens drawn at random show which columns are large as well as prose does (KL to fp32 of the default model 0.0039 and
# 0.0041 nats, where unbalanced weights lose 0.0055; reviews for training), and need neither a text nor a language.
SEQUENCES, LENGTH, SEED = 8, 64, 0

# The power that the input's size over the weights' is taken to. 1/2, which would make both alike, loses 0.0057 nats;
# 1/4 loses the least, and rounded to powers of two 0.0040.
EXPONENT = 0.25
LEAST = 1e-3  # of the mean: a column of zeros is still a column


class Balanced(Mapping[str, Tensor]):
    """A state whose tensors are multiplied as they are taken: nothing is held twice."""

    def __init__(self, state: State, factors: Mapping[str, tuple[Tensor, ...]]) -> None:
        self._state, self._factors = state, factors

    def __getitem__(self, key: str) -> Tensor:
        tensor = self._state[key]
        for factor in self._factors.get(key, ()):
            tensor = tensor.float() * factor
        return tensor

    def __contains__(self, key: object) -> bool:
        return key in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


class _Recorder(Decoder):
    """Keeps the mean square of each column of what its matrices are multiplied with: f32 [columns], in the order they
    are used."""

    def __init__(self, arch: Architecture, params: Parameters, cache: StaticCache) -> None:
        super().__init__(arch, params, cache)
        self.squares: list[Tensor] = []

    def _linear(self, x: Tensor, m: Matrix) -> Tensor:
        self.squares.append(x.square().mean(0))
        return super()._linear(x, m)


def balanced(arch: Architecture, state: State) -> Balanced:
    """The same model by other numbers (HF names, checked against `expected_shapes` by the caller)."""
    names, found = arch.family.names, Checkpoint(arch, state)
    factors: dict[str, tuple[Tensor, ...]] = {}

    def scale(name: str, part: str, factor: Tensor) -> None:
        if (key := found.key(name, part)) in state:
            factors[key] = (*factors.get(key, ()), factor)

    def scale_columns(name: str, factor: Tensor) -> None:
        scale(name, "weight", factor[:, None] if arch.family.transposed else factor)

    for layer, (qkv_in, up_in, down_in) in enumerate(inputs(arch, state)):
        qkv, up = ([name.format(layer) for name in part] for part in (names.qkv, names.up))
        for norm, matrices, squares in ((names.norm1, qkv, qkv_in), (names.norm2, up, up_in)):
            factor = factors_of(squares, [found.matrix(name) for name in matrices])
            for part in ("weight", "bias"):
                scale(norm.format(layer), part, 1 / factor)
            for name in matrices:
                scale_columns(name, factor)
        if arch.family.gated:
            down, linear = names.down.format(layer), up[1]
            factor = factors_of(down_in, [found.matrix(down)])
            scale_columns(down, factor)
            scale(linear, "weight", 1 / factor[:, None])
            scale(linear, "bias", 1 / factor)
    return Balanced(state, factors)


def factors_of(squares: Tensor, weights: list[Tensor]) -> Tensor:
    """What to multiply the columns of matrices [rows, columns] with, powers of two around 1, f32 [columns], from the
    mean square of each number they multiply."""
    given = squares.sqrt()
    own = torch.cat(weights).square().mean(0).sqrt()
    given, own = (size.clamp_min(LEAST * float(size.mean()) or 1.0) for size in (given, own))
    factor = (given / own) ** EXPONENT
    return torch.exp2(torch.log2(factor / factor.mean()).round())


@torch.inference_mode()
def inputs(arch: Architecture, state: State) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each layer in fp32, the mean squares f32 [columns] of what its qkv, up and down matrices are multiplied with,
    over random tokens. One layer is held at a time, as a model of its own whose embeddings are what comes in."""
    length = min(LENGTH, arch.context)
    tokens = torch.randint(arch.vocabulary, (SEQUENCES * length,), generator=torch.Generator().manual_seed(SEED))
    names, found = arch.family.names, Checkpoint(arch, state)
    x = state[found.key(names.embed)][tokens].float()  # [N, D]
    if names.positions:
        x = x + found.table(names.positions)[:length].repeat(SEQUENCES, 1)
    one = replace(arch, layers=1, vocabulary=len(x), tied=True)
    cache = StaticCache(1, SEQUENCES, arch.kv_heads, length, arch.head_dim, torch.float32)
    segments = [Segment(slot, 0, length) for slot in range(SEQUENCES)]
    parts = (names.norm1, *names.qkv, names.q_norm, names.k_norm, names.out, names.norm2, *names.up, names.down)
    for layer in range(arch.layers):
        own = {f"{names.embed}.weight": x}
        for name in parts:
            for part in ("weight", "bias"):
                if (stored := found.find(name.format(layer), part)) is not None:
                    own[f"{name.format(0)}.{part}"] = stored
        params = build_parameters(one, own, BuildOptions("fp32", length))
        recorder = _Recorder(one, params, cache)
        x = recorder.hidden(torch.arange(len(x)), segments, final=False)
        qkv, _, up, down = recorder.squares
        yield qkv, up, down
