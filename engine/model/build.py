"""From a checkpoint's tensors to `Parameters`: joined, stacked over layers, and rounded to the precision asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine import memory
from engine.errors import BadModel, BadRequest
from engine.model.checkpoint import Checkpoint, State
from engine.model.families import Architecture, rotary
from engine.model.matrix import Matrix
from engine.model.parameters import Parameters, matrix_shapes
from engine.model.quantize import GROUP, PANEL, QUAD, in_panels, panels, quantize_groups, quantize_rows

CPU = torch.device("cpu")


@dataclass(frozen=True)
class BuildOptions:
    """How parameters are held.

    Parameters
    ----------
    precision : "fp32"; "half" (fp16, or `compute_dtype` where that is 16 bit); "int8" (see `quantize_rows`); "int4"
        (see `quantize_groups`; embeddings and head as in int8).
    context : positions that the rotary tables are prepared for.
    device : where the parameters go.
    compute_dtype : what the decoder computes in.
    """

    precision: str
    context: int
    device: torch.device = CPU
    compute_dtype: torch.dtype = torch.float32

    @property
    def half(self) -> torch.dtype:
        """The 16-bit dtype that "half" stores."""
        return self.compute_dtype if self.compute_dtype != torch.float32 else torch.float16


def build_parameters(
    arch: Architecture,
    state: State,
    options: BuildOptions,
    on_share: Callable[[float], None] | None = None,
) -> Parameters:
    """Stack a checkpoint into parameters.

    Parameters
    ----------
    arch : the model.
    state : its tensors by Transformers' names, checked against `expected_shapes` by the caller.
    options : how the parameters are held.
    on_share : hears the share that is done, 0 to 1.

    Raises
    ------
    BadRequest : a matrix does not divide into the groups of int4.
    BadModel : a weight is too large for its precision.
    """
    names, found = arch.family.names, Checkpoint(arch, state)
    stacks = _Stacks(found, options)

    def progress(share: float) -> None:
        if on_share:
            on_share(share)

    def stack_vectors(name: str, part: str = "weight") -> Tensor:
        return torch.stack([found.vector(name.format(i), part) for i in range(arch.layers)]).to(options.device)

    embed = stacks.table(names.embed)
    progress(0.2)
    head = embed if _is_tied(found) else stacks.table(names.head)
    qkv, out = stacks.matrix(names.qkv), stacks.matrix((names.out,))
    progress(0.5)
    up = stacks.matrix(names.up)
    progress(0.8)
    down = stacks.matrix((names.down,))
    cos, sin = rotary(arch, options.context)
    progress(1.0)
    return Parameters(
        embed=embed,
        positions=found.vector(names.positions).reshape(-1, arch.hidden).contiguous().to(options.device),
        norm1=stack_vectors(names.norm1),
        norm1_bias=stack_vectors(names.norm1, "bias"),
        qkv=qkv,
        q_norm=stack_vectors(names.q_norm),
        k_norm=stack_vectors(names.k_norm),
        out=out,
        norm2=stack_vectors(names.norm2),
        norm2_bias=stack_vectors(names.norm2, "bias"),
        up=up,
        down=down,
        norm=found.vector(names.norm).to(options.device),
        norm_bias=found.vector(names.norm, "bias").to(options.device),
        head=head,
        cos=cos.to(options.device),
        sin=sin.to(options.device),
    )


def _is_tied(found: Checkpoint) -> bool:
    """Whether the head is the embedding. One that differs from it is its own, whatever config.json says: so
    Transformers has it."""
    names = found.arch.family.names
    head = found.find(names.head)
    return head is None or (found.arch.tied and torch.equal(head, found.table(names.embed).to(head.dtype)))


class _Stacks:
    """Makes the matrices of one checkpoint as `options` want them held."""

    def __init__(self, found: Checkpoint, options: BuildOptions) -> None:
        self._found, self._options = found, options
        largest = max(math.prod(shape) for shape in matrix_shapes(found.arch).values())
        self._work = torch.empty(largest if options.precision in ("int8", "int4") else 0)

    def table(self, name: str) -> Matrix:
        """An embedding or a head, without a layer axis."""
        precision = "int8" if self._options.precision == "int4" else self._options.precision
        weight = self._found.table(name)
        stored = self._storage(precision, 1, weight.shape[0], weight.shape[1])
        stored.put(0, [weight])
        return self._finish(stored, weight.shape, torch.zeros(1, 0)).layer(0)

    def matrix(self, joined: Sequence[str]) -> Matrix:
        """A matrix of every layer, the rows of those named in `joined` one below the other."""
        layers, precision = self._found.arch.layers, self._options.precision
        parts = [self._found.matrix(name.format(0)).shape for name in joined]
        rows, columns = sum(shape[0] for shape in parts), parts[0][1]
        if precision == "int4" and columns % GROUP:
            name = joined[0].format(0)
            raise BadRequest(
                f"This model cannot be held in int4: '{name}' has {columns} columns, not a multiple of {GROUP}."
            )
        stored = self._storage(precision, layers, rows, columns)
        biases = []
        for i in range(layers):
            stored.put(i, [self._found.matrix(name.format(i)) for name in joined])
            biases.append(torch.cat([self._found.vector(name.format(i), "bias") for name in joined]))
        return self._finish(stored, (rows, columns), torch.stack(biases))

    def _storage(self, precision: str, layers: int, rows: int, columns: int) -> _Storage:
        if precision == "int4":
            return _Int4Groups(layers, rows, columns)
        if precision == "int8":
            return _Int8Rows(layers, rows, columns, self._work)
        return _Floats(layers, rows, columns, torch.float32 if precision == "fp32" else self._options.half)

    def _finish(self, stored: _Storage, shape: Sequence[int], bias: Tensor) -> Matrix:
        tensors = (stored.weight, stored.scale, bias, stored.minimum)
        return Matrix((shape[0], shape[1]), *(tensor.to(self._options.device) for tensor in tensors))


class _Storage(Protocol):
    """The memory of a matrix of every layer, as `Matrix` has its tensors."""

    weight: Tensor
    scale: Tensor
    minimum: Tensor

    def put(self, layer: int, parts: Sequence[Tensor]) -> None:
        """Store one layer: parts f32 [n, columns] whose rows stand one below the other."""
        ...


class _Floats(_Storage):
    """Numbers as they are, in fp32 or 16 bit."""

    def __init__(self, layers: int, rows: int, columns: int, dtype: torch.dtype) -> None:
        self.weight = memory.empty((layers, rows, columns), dtype)
        self.scale, self.minimum = torch.zeros(layers, 0), torch.zeros(layers, 0, 0)

    def put(self, layer: int, parts: Sequence[Tensor]) -> None:
        dtype = self.weight.dtype
        for part, place in zip(parts, self.weight[layer].split([len(part) for part in parts]), strict=True):
            if dtype == torch.float16 and max(abs(float(x)) for x in part.aminmax()) > torch.finfo(dtype).max:
                raise BadModel("A weight is too large for half precision: load this model in fp32 or int8.")
            place.copy_(part)


class _Int8Rows(_Storage):
    """Whole numbers of 8 bits in panels, one scale a row; `work` is for `quantize_rows`."""

    def __init__(self, layers: int, rows: int, columns: int, work: Tensor) -> None:
        high, wide = -(-rows // PANEL), -(-columns // QUAD) * QUAD
        self.weight = memory.empty((layers, high, wide * PANEL), torch.int8)
        self.scale = memory.empty((layers, high * PANEL), torch.float32)
        self.minimum = torch.zeros(layers, 0, 0)
        self._work = work

    def put(self, layer: int, parts: Sequence[Tensor]) -> None:
        rounded, scale = quantize_rows(_joined(parts), self._work)
        self.weight[layer], self.scale[layer] = panels(rounded.to(torch.int8)), in_panels(scale)


class _Int4Groups(_Storage):
    """Whole numbers of 4 bits in panels, a scale and a minimum for each group of columns."""

    def __init__(self, layers: int, rows: int, columns: int) -> None:
        high = -(-rows // PANEL)
        self.weight = memory.empty((layers, high, columns // 2 * PANEL), torch.uint8)
        self.scale, self.minimum = (
            memory.empty((layers, high, columns // GROUP * PANEL), torch.float16) for _ in range(2)
        )

    def put(self, layer: int, parts: Sequence[Tensor]) -> None:
        packed, scales, minima = quantize_groups(_joined(parts))
        self.weight[layer] = panels(packed)
        self.scale[layer], self.minimum[layer] = in_panels(scales), in_panels(minima)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
