"""What a run must at least move and compute, and so which of this machine's ceilings it could run into.

The roofline model of Williams, Waterman and Patterson (2009): time is bounded by bytes over bandwidth and by operations
over arithmetic speed; a run far from both spends its time elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.model.families import Architecture

BOUND_FROM = 0.5  # a ceiling is named as the bound when it explains at least this share of the time
KV_BYTES = {"fp32": 4.0, "half": 2.0, "bf16": 2.0, "int8": 1.0, "u8": 1.0}


@dataclass(frozen=True)
class Work:
    """Bytes moved and operations done, and the bound they give in seconds for ceilings a second."""

    nbytes: float
    flops: float

    def shares(self, seconds: float, bandwidth: float, flops: float) -> tuple[float, float]:
        """The share of the time that reading alone, and that arithmetic alone, would take.

        Parameters
        ----------
        seconds : time that the work took.
        bandwidth : bytes/s that can be read.
        flops : operations/s that can be computed.
        """
        return self.nbytes / bandwidth / seconds, self.flops / flops / seconds


def matrix_parameters(arch: Architecture) -> int:
    """Weights of all layers' matrices, without embedding and head."""
    query, keys = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    up = (2 if arch.family.gated else 1) * arch.feed_forward
    return arch.layers * arch.hidden * (query + 2 * keys + query + up + arch.feed_forward)


def read_once(arch: Architecture, weight_bytes: float) -> float:
    """Bytes of the weights a decode step reads: all, less an embedding that is not the head too (one row of it)."""
    if arch.tied:
        return weight_bytes
    table = arch.vocabulary * arch.hidden
    return weight_bytes * (1 - table / (matrix_parameters(arch) + 2 * table))


def kv_token_bytes(arch: Architecture, kv: str) -> float:
    """Bytes of one position's keys and values; int8 has a 4-byte scale for each head, u8 a scale and a zero point."""
    scale = {"int8": 4.0, "u8": 8.0}.get(kv, 0.0)
    return 2 * arch.layers * arch.kv_heads * (arch.head_dim * KV_BYTES[kv] + scale)


def prefill(arch: Architecture, tokens: int, weight_bytes: float) -> Work:
    """One prompt: every matrix for every token, attention to all before, the head for the last row alone.

    Parameters
    ----------
    arch : the model's architecture.
    tokens : length of the prompt.
    weight_bytes : size of all weights as they are stored.
    """
    attention = 4.0 * arch.layers * arch.heads * arch.head_dim * tokens * (tokens + 1) / 2
    head = 2.0 * arch.vocabulary * arch.hidden
    return Work(read_once(arch, weight_bytes), 2.0 * matrix_parameters(arch) * tokens + attention + head)


def decode(arch: Architecture, context: float, batch: int, weight_bytes: float, kv: str) -> Work:
    """One step: the weights once, the keys and values of each sequence.

    Parameters
    ----------
    arch : the model's architecture.
    context : tokens before the step, an average where they grow.
    batch : sequences side by side.
    weight_bytes : size of all weights as they are stored.
    kv : how keys and values are stored, a key of `KV_BYTES`.
    """
    products = 2.0 * (matrix_parameters(arch) + arch.vocabulary * arch.hidden)
    attention = 4.0 * arch.layers * arch.heads * arch.head_dim * context
    cache = batch * context * kv_token_bytes(arch, kv)
    return Work(read_once(arch, weight_bytes) + cache, batch * (products + attention))


def bound(shares: tuple[float, float]) -> str:
    """The ceiling that explains most of the time, or that neither does."""
    share, name = max(zip(shares, ("memory", "compute"), strict=True))
    return name if share >= BOUND_FROM else "Python, other"
