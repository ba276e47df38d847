"""A model's weights in one precision, stacked over layers, ready for both decoders: torch's and the compiled one.

q, k and v are one matrix, gate and up another; biases that a family lacks are empty. The same memory serves torch
(tensors) and Numba (views), so a precision is held once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine import memory
from engine.errors import BadModel, BadRequest
from engine.families import Architecture, rotary
from engine.quantize import GROUP, quantize_groups, quantize_rows

State = dict[str, Tensor]

NOTHING = torch.zeros(0, 0)


@dataclass(frozen=True)
class Matrix:
    """y = x W^T * scale + bias. `weight` [..., rows, columns] fp32, 16 bit or int8; `scale` f32 [..., rows];
    `bias` f32 [..., rows], or [..., 0] where there is none; `minimum` [..., 0, 0].

    Int4 is what `quantize_groups` gives: `weight` uint8 [..., rows, columns / 2], `scale` and `minimum` f16
    [..., rows, columns / 32].
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor
    minimum: Tensor = NOTHING

    def layer(self, index: int) -> Matrix:
        return Matrix(self.weight[index], self.scale[index], self.bias[index], self.minimum[index])


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
            matrix = isinstance(value, Matrix)
            for tensor in (value.weight, value.scale, value.minimum, value.bias) if matrix else (value,):
                found.setdefault(tensor.data_ptr() or id(tensor), tensor)
        return list(found.values())

    def count(self) -> int:
        """Numbers the model is made of: scales, and the rotary tables, are none of them."""
        total = 0
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Matrix):
                tied = field.name == "head" and value is self.embed
                per_element = 2 if value.weight.dtype == torch.uint8 else 1
                total += 0 if tied else value.weight.numel() * per_element + value.bias.numel()
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
                value = Matrix(*(getattr(value, part.name).to(device) for part in fields(value)))
            else:
                value = value.to(device)
            moved[field.name] = moved["embed"] if field.name == "head" and self.head is self.embed else value
        return Parameters(**moved)  # type: ignore[arg-type]  # of the same kinds

    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.tensors())


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

    largest = arch.hidden * max(arch.vocabulary, arch.feed_forward, (arch.heads + 2 * arch.kv_heads) * arch.head_dim)
    work = torch.empty(largest if stored == torch.int8 else 0)

    def put(weight: Tensor, into: Tensor, scale: Tensor) -> None:
        """Store one matrix fp32 [rows, columns] in its place."""
        if stored == torch.int8:
            rounded, scale[:] = quantize_rows(weight, work)
            into.copy_(rounded)
            return
        if stored == torch.float16 and max(abs(float(x)) for x in weight.aminmax()) > torch.finfo(stored).max:
            raise BadModel("A weight is too large for half precision: load this model in fp32 or int8.")
        into.copy_(weight)
        scale.fill_(1)

    def table(name: str) -> Matrix:
        weight = weight_of(name)
        kept, scale = memory.empty(tuple(weight.shape), stored), torch.empty(weight.shape[0])
        put(weight, kept, scale)
        return Matrix(kept.to(device), scale.to(device), torch.zeros(0, device=device), NOTHING.to(device))

    def stack(joined: tuple[str, ...]) -> Matrix:
        parts = [weight_of(name, 0).shape for name in joined]
        total, columns = sum(rows for rows, _ in parts), parts[0][1]
        if precision == "int4" and columns % GROUP:
            name = joined[0].format(0)
            raise BadRequest(
                f"This model cannot be held in int4: '{name}' has {columns} columns, not a multiple of {GROUP}."
            )
        in_groups = (arch.layers, total, columns // GROUP)
        if precision == "int4":
            weight = memory.empty((arch.layers, total, columns // 2), torch.uint8)
            scale, minimum = memory.empty(in_groups, torch.float16), memory.empty(in_groups, torch.float16)
        else:
            weight = memory.empty((arch.layers, total, columns), stored)
            scale, minimum = torch.empty((arch.layers, total)), torch.zeros(arch.layers, 0, 0)
        biases = []
        for i in layers:
            first = 0
            for name, (rows, _) in zip(joined, parts, strict=True):
                part = slice(first, first + rows)
                if precision == "int4":
                    weight[i, part], scale[i, part], minimum[i, part] = quantize_groups(weight_of(name, i))
                else:
                    put(weight_of(name, i), weight[i, part], scale[i, part])
                first += rows
            biases.append(torch.cat([vector(name.format(i), "bias") for name in joined]))
        return Matrix(weight.to(device), scale.to(device), torch.stack(biases).to(device), minimum.to(device))

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
