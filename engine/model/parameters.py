"""A model's weights in one precision, stacked over layers, ready for both decoders: torch's and the compiled one.

q, k and v are one matrix, gate and up another; biases that a family lacks are empty. The same memory serves torch
(tensors) and Numba (views), so a precision is held once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine import memory
from engine.errors import BadModel, BadRequest
from engine.model.families import Architecture, rotary
from engine.model.quantize import (
    GROUP,
    PANEL,
    QUAD,
    in_panels,
    lying,
    panels,
    quantize_groups,
    quantize_rows,
    widen_groups,
)

State = Mapping[str, Tensor]

NOTHING = torch.zeros(0, 0)


@dataclass(frozen=True)
class Matrix:
    """y = x W^T * scale + bias, W of `shape` (rows, columns), in as many layers as there are leading axes.

    fp32 and 16 bit: `weight` [..., rows, columns]; `scale` [..., 0]. Int8: `weight` in panels (`quantize.panels`)
    [..., rows / 16, columns / 4 * 64], `scale` f32 [..., rows / 16 * 16]. Int4: the bytes that `quantize_groups` gives,
    uint8, in panels [..., rows / 16, columns / 8 * 64], `scale` and `minimum` f16 [..., rows / 16, columns / 32 * 16].
    `bias` f32 [..., rows], or [..., 0] where there is none. What divides is rounded up.
    """

    shape: tuple[int, int]
    weight: Tensor
    scale: Tensor
    bias: Tensor
    minimum: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        return self.weight, self.scale, self.bias, self.minimum

    def of(self, *tensors: Tensor) -> Matrix:
        """Of the same shape, from other tensors."""
        return Matrix(self.shape, *tensors)

    def layer(self, index: int) -> Matrix:
        return self.of(*(tensor[index] for tensor in self.tensors()))

    def part(self, first: int, last: int) -> Matrix:
        """Rows `first` (a multiple of 16) to `last` of a matrix of one layer that is not int4."""
        last = min(last, self.shape[0])
        stored, scales = slice(first, last), slice(first, first)
        if self.weight.dtype == torch.int8:
            stored = slice(first // PANEL, -(-last // PANEL))
            scales = slice(stored.start * PANEL, stored.stop * PANEL)
        bias = self.bias[first:last] if self.bias.numel() else self.bias
        return Matrix((last - first, self.shape[1]), self.weight[stored], self.scale[scales], bias, self.minimum)

    def rows(self, indices: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows i64 [N] of a matrix of one layer that is not int4, as numbers [N, columns]."""
        if self.weight.dtype != torch.int8:
            return self.weight[indices].to(dtype)
        found = lying(self.weight)[indices // PANEL, indices % PANEL].flatten(1)[:, : self.shape[1]]
        return found.to(dtype) * self.scale[indices][:, None].to(dtype)

    def widen(self, into: Tensor) -> Tensor:
        """The whole matrix of one layer as numbers, written to `into` [rows, columns] of a float dtype."""
        rows, columns = self.shape
        if self.weight.dtype not in (torch.int8, torch.uint8):
            return into.copy_(self.weight)
        stored = lying(self.weight).flatten(2).flatten(0, 1)  # [rows, bytes], filled up
        if self.weight.dtype == torch.int8:
            return into.copy_(stored[:rows, :columns]).mul_(self.scale[:rows, None].to(into.dtype))
        scale, minimum = (
            part.unflatten(-1, (-1, PANEL)).transpose(-1, -2).flatten(0, 1)[:rows]  # [rows, columns / 32]
            for part in (self.scale, self.minimum)
        )
        return widen_groups(stored[:rows, : columns // 2], scale, minimum, into)


@dataclass(frozen=True)
class Parameters:
    """Shapes as in `kernels.step.Weights`; vectors are f32."""

    embed: Matrix
    positions: Tensor
    norm1: Tensor
    norm1_bias: Tensor
    qkv: Matrix
    q_norm: Tensor
    k_norm: Tensor
    out: Matrix
    norm2: Tensor
    norm2_bias: Tensor
    up: Matrix
    down: Matrix
    norm: Tensor
    norm_bias: Tensor
    head: Matrix
    cos: Tensor
    sin: Tensor

    def tensors(self) -> list[Tensor]:
        """Every tensor once: a tied head is the embedding's own memory."""
        found: dict[int, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            for tensor in value.tensors() if isinstance(value, Matrix) else (value,):
                found.setdefault(tensor.data_ptr() or id(tensor), tensor)
        return list(found.values())

    def count(self) -> int:
        """Numbers the model is made of: scales, and the rotary tables, are none of them."""
        total = 0
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Matrix):
                tied = field.name == "head" and value is self.embed
                layers = math.prod(value.weight.shape[:-2])
                total += 0 if tied else layers * math.prod(value.shape) + value.bias.numel()
            elif field.name not in ("cos", "sin"):
                total += value.numel()
        return total

    def to(self, device: torch.device) -> Parameters:
        """The same on another device; a tied head stays tied."""
        if device == self.embed.weight.device:
            return self
        moved: dict[str, Matrix | Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Matrix):
                value = value.of(*(tensor.to(device) for tensor in value.tensors()))
            else:
                value = value.to(device)
            moved[field.name] = moved["embed"] if field.name == "head" and self.head is self.embed else value
        return Parameters(**moved)  # type: ignore[arg-type]  # of the same kinds

    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.tensors())


def matrix_shapes(arch: Architecture) -> dict[str, tuple[int, int]]:
    """Rows and columns of each matrix of `Parameters`."""
    attended, kv = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    up = (2 if arch.family.gated else 1) * arch.feed_forward
    return {
        "embed": (arch.vocabulary, arch.hidden), "head": (arch.vocabulary, arch.hidden),
        "qkv": (attended + 2 * kv, arch.hidden), "out": (arch.hidden, attended),
        "up": (up, arch.hidden), "down": (arch.hidden, arch.feed_forward),
    }  # fmt: skip


def expected_shapes(arch: Architecture, state: State) -> dict[str, tuple[int, ...]]:
    """The tensors this architecture must find in `state`, by the names used there: matrices, norms, and the biases of
    a part in every layer and matrix of it once one has them."""
    names, a = arch.family.names, arch
    prefix = names.prefix if f"{names.prefix}{names.embed}.weight" in state else ""
    attended, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    qkv_rows = [attended, kv, kv] if len(names.qkv) == 3 else [attended + 2 * kv]
    shapes: dict[str, tuple[int, ...]] = {
        names.embed: (a.vocabulary, a.hidden),
        names.norm: (a.hidden,),
    }
    if names.positions:
        shapes[names.positions] = (a.context, a.hidden)
    if not a.tied or f"{names.head}.weight" in state:
        shapes[names.head] = (a.vocabulary, a.hidden)

    def matrix(rows: int, columns: int) -> tuple[int, int]:
        return (columns, rows) if a.family.transposed else (rows, columns)

    for i in range(a.layers):
        shapes[names.norm1.format(i)] = shapes[names.norm2.format(i)] = (a.hidden,)
        for name, rows in zip(names.qkv, qkv_rows, strict=True):
            shapes[name.format(i)] = matrix(rows, a.hidden)
        shapes[names.out.format(i)] = matrix(a.hidden, attended)
        for name in names.up:
            shapes[name.format(i)] = matrix(a.feed_forward, a.hidden)
        shapes[names.down.format(i)] = matrix(a.hidden, a.feed_forward)
        if names.q_norm:
            shapes[names.q_norm.format(i)] = shapes[names.k_norm.format(i)] = (a.head_dim,)
    expected = {(key if key == names.head else prefix + key) + ".weight": shape for key, shape in shapes.items()}
    for part in ((names.norm1,), names.qkv, (names.out,), (names.norm2,), names.up, (names.down,), (names.norm,)):
        keys = [prefix + name.format(i) for name in part for i in range(a.layers)]
        # Families with LayerNorm have biases everywhere; of the others, some models have some.
        if a.family.layer_norm or any(f"{key}.bias" in state for key in keys):
            outputs = -1 if a.family.transposed else 0
            expected |= {f"{key}.bias": (expected[f"{key}.weight"][outputs],) for key in keys}
    return expected


def build(
    arch: Architecture,
    state: State,
    precision: str,
    *,
    context: int,
    device: torch.device,
    compute_dtype: torch.dtype,
    on_layer: Callable[[float], None] | None = None,
) -> Parameters:
    """Stack `state` (HF names, checked against `expected_shapes` by the caller) into `Parameters` on `device`.

    "fp32" and "half" store weights in fp32 and fp16 (or `compute_dtype` where that is 16 bit); "int8" as
    `quantize_rows`; "int4" as `quantize_groups`, with embeddings and head as in int8. `context` positions are prepared.
    `on_layer` hears the share done, 0 to 1. Raises BadRequest where int4 is asked for and a matrix does not divide
    into groups, BadModel where a weight is too large for its precision.
    """
    names, layers = arch.family.names, range(arch.layers)
    prefix = names.prefix if f"{names.prefix}{names.embed}.weight" in state else ""
    half = compute_dtype if compute_dtype != torch.float32 else torch.float16
    stored = {"fp32": torch.float32, "half": half, "int8": torch.int8, "int4": torch.int8}[precision]

    def find(name: str, part: str = "weight") -> Tensor | None:
        return state.get(f"{prefix}{name}.{part}", state.get(f"{name}.{part}"))

    def vector(name: str, part: str = "weight", size: int = 0) -> Tensor:
        found = find(name, part) if name else None
        return torch.zeros(size) if found is None else found.float()

    def weight_of(name: str, layer: int | None = None) -> Tensor:
        found = find(name if layer is None else name.format(layer))
        assert found is not None, name  # shapes were checked
        return found.float().T if arch.family.transposed and layer is not None else found.float()

    largest = max(rows * columns for rows, columns in matrix_shapes(arch).values())
    work = torch.empty(largest if stored == torch.int8 else 0)

    def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
        """fp32 [rows, columns] as int8 in panels, and the scales of its rows."""
        rounded, scale = quantize_rows(weight, work)
        return panels(rounded.to(torch.int8)), in_panels(scale)

    def narrow(weight: Tensor, into: Tensor) -> None:
        """Store one matrix fp32 [rows, columns] in its place in fp32 or 16 bit."""
        if stored == torch.float16 and max(abs(float(x)) for x in weight.aminmax()) > torch.finfo(stored).max:
            raise BadModel("A weight is too large for half precision: load this model in fp32 or int8.")
        into.copy_(weight)

    def table(name: str) -> Matrix:
        weight, scale = weight_of(name), torch.zeros(0)
        if stored == torch.int8:
            packed, scale = pack(weight)
            kept = memory.empty(tuple(packed.shape), stored).copy_(packed)
        else:
            narrow(weight, kept := memory.empty(tuple(weight.shape), stored))
        given = (kept, scale, torch.zeros(0), NOTHING)
        return Matrix((weight.shape[0], weight.shape[1]), *(tensor.to(device) for tensor in given))

    def stack(joined: tuple[str, ...]) -> Matrix:
        parts = [weight_of(name, 0).shape for name in joined]
        total, columns = sum(rows for rows, _ in parts), parts[0][1]
        if precision == "int4" and columns % GROUP:
            name = joined[0].format(0)
            raise BadRequest(
                f"This model cannot be held in int4: '{name}' has {columns} columns, not a multiple of {GROUP}."
            )
        high = -(-total // PANEL)
        scale, minimum = torch.zeros(arch.layers, 0), torch.zeros(arch.layers, 0, 0)
        if precision == "int4":
            in_groups = (arch.layers, high, columns // GROUP * PANEL)
            weight = memory.empty((arch.layers, high, columns // 2 * PANEL), torch.uint8)
            scale, minimum = memory.empty(in_groups, torch.float16), memory.empty(in_groups, torch.float16)
        elif precision == "int8":
            weight = memory.empty((arch.layers, high, -(-columns // QUAD) * QUAD * PANEL), torch.int8)
            scale = memory.empty((arch.layers, high * PANEL), torch.float32)
        else:
            weight = memory.empty((arch.layers, total, columns), stored)
        biases = []
        for i in layers:
            whole = [weight_of(name, i) for name in joined]
            if precision == "int4":
                packed, scales, minima = quantize_groups(torch.cat(whole))
                weight[i], scale[i], minimum[i] = panels(packed), in_panels(scales), in_panels(minima)
            elif precision == "int8":
                weight[i], scale[i] = pack(torch.cat(whole))
            else:
                for own, into in zip(whole, weight[i].split([rows for rows, _ in parts]), strict=True):
                    narrow(own, into)
            biases.append(torch.cat([vector(name.format(i), "bias") for name in joined]))
        given = (weight, scale, torch.stack(biases), minimum)
        return Matrix((total, columns), *(tensor.to(device) for tensor in given))

    def stack_vectors(name: str, part: str = "weight") -> Tensor:
        return torch.stack([vector(name.format(i), part) for i in layers]).to(device)

    def progress(share: float) -> None:
        if on_layer:
            on_layer(share)

    embed = table(names.embed)
    progress(0.2)
    own = find(names.head)
    # A head that differs from the embedding is its own, whatever config.json says: so Transformers has it.
    tied = own is None or (arch.tied and torch.equal(own, weight_of(names.embed).to(own.dtype)))
    head = embed if tied else table(names.head)
    qkv, out = stack(names.qkv), stack((names.out,))
    progress(0.5)
    up = stack(names.up)
    progress(0.8)
    down = stack((names.down,))
    cos, sin = rotary(arch, context)
    progress(1.0)
    return Parameters(
        embed=embed,
        positions=vector(names.positions).reshape(-1, arch.hidden).contiguous().to(device),
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
        norm=vector(names.norm).to(device),
        norm_bias=vector(names.norm, "bias").to(device),
        head=head,
        cos=cos.to(device),
        sin=sin.to(device),
    )
