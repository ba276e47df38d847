"""Which precisions are measured, and what each may lose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from engine.backends.base import MAX_ROWS
from engine.config import EngineConfig, Precision


@dataclass(frozen=True)
class Bounds:
    """Most mean KL divergence in nats, least share of same top tokens, most ratio of bits a byte."""

    kl: float
    same: float
    ratio: float


HALF = Bounds(1e-4, 0.99, 1.0005)
INT8 = Bounds(1e-2, 0.95, 1.005)
INT8_PREFILL = Bounds(3e-2, 0.92, 1.02)
INT8_KV = Bounds(1e-2, 0.95, 1.005)


@dataclass(frozen=True)
class Variant:
    """`way`: texts are run as prompts are, or a token a decode step. No `bounds`: reported without a verdict."""

    name: str
    what: str  # stands in it
    config: EngineConfig
    way: Literal["prompt", "decode"] = "prompt"
    bounds: Bounds | None = None


def reference(model: str) -> EngineConfig:
    """fp32 throughout, in plain torch."""
    return EngineConfig(model, precision="fp32", kv_precision="fp32", prefill="fp32", kernels=False, backend="native")


def variants(model: str) -> tuple[Variant, ...]:
    """One change after another, then each precision as it runs where nothing else is asked for."""
    plain = replace(reference(model), kernels=True, max_batch=MAX_ROWS)
    half, int8, int4 = (
        replace(plain, precision="half"), replace(plain, precision="int8"), replace(plain, precision="int4"),
    )  # fmt: skip
    usual = EngineConfig(model, backend="native", max_batch=MAX_ROWS)
    rows = [
        Variant("half", "weights alone", half, bounds=HALF),
        Variant("int8 weights", "weights alone", int8, bounds=INT8),
        Variant("int16 prefill too", "weights and prefill", replace(int8, prefill="int16"), bounds=INT8),
        Variant("int8 prefill too", "weights and prefill", replace(int8, prefill="int8"), bounds=INT8_PREFILL),
        Variant("int8 KV", "weights and KV", replace(int8, kv_precision="int8"), bounds=INT8_KV),
        Variant("int4", "weights alone, embedding and head in int8", int4),
        Variant(
            "fp32 decoded", "as it runs by default, by decode steps", replace(usual, precision="fp32"), "decode", HALF
        ),
    ]
    default: tuple[tuple[Precision, Bounds | None], ...] = (("half", HALF), ("int8", INT8_PREFILL), ("int4", None))
    for precision, bounds in default:
        config = replace(usual, precision=precision)
        rows.append(Variant(f"{precision} by default", "as a prompt runs", config, bounds=bounds))
        rows.append(Variant(f"{precision} decoded", "as it runs by default, by decode steps", config, "decode", bounds))
    return tuple(rows)
