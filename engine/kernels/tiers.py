"""Tiers of processors: the sets of instructions for which the operators take different paths, and which one is played.

`BRISK_CPU_TIER` makes a wide machine compile and run as a narrower tier, to test or to time what another processor
would run. Without it the kernels are compiled for this processor as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llvmlite.binding import get_host_cpu_features
from numba.core import config

from engine.errors import BadRequest

VARIABLE = "BRISK_CPU_TIER"


@dataclass(frozen=True)
class Tier:
    """A kind of processor.

    Attributes
    ----------
    name : what `BRISK_CPU_TIER` calls it.
    cpu : a processor of this kind, as LLVM spells it.
    features : what the processor must have, as LLVM spells it, beside everything that narrower tiers need.
    torch : the environment that holds torch's own products to the same instructions, read when torch starts.
    """

    name: str
    cpu: str
    features: tuple[str, ...]
    torch: Mapping[str, str]

    @property
    def libraries(self) -> Mapping[str, str]:
        """The environment that holds every engine to this tier which can be held: oneDNN's and CTranslate2's too."""
        return {**self.torch, "CT2_FORCE_CPU_ISA": self.torch["ATEN_CPU_CAPABILITY"].upper()}


def _torch(capability: str, onednn: str) -> Mapping[str, str]:
    return {"ATEN_CPU_CAPABILITY": capability, "ONEDNN_MAX_CPU_ISA": onednn}


_AVX2 = ("avx", "avx2", "fma", "f16c", "bmi", "bmi2")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

# From the narrowest to the widest.
TIERS = (
    Tier("avx2", "haswell", _AVX2, _torch("avx2", "AVX2")),
    Tier("avx-vnni", "alderlake", (*_AVX2, "avxvnni"), _torch("avx2", "AVX2_VNNI")),
    Tier("avx512", "skylake-avx512", _AVX512, _torch("avx512", "AVX512_CORE")),
    Tier("avx512-vnni", "cascadelake", (*_AVX512, "avx512vnni"), _torch("avx512", "AVX512_CORE_VNNI")),
)


def playable(has: Callable[[str], bool] | None = None) -> tuple[Tier, ...]:
    """The tiers whose instructions a processor has, narrowest first: the last is its own, and none is another
    architecture's. `has` tells of a feature; without it this processor is asked."""
    if has is None:
        features = get_host_cpu_features()
        has = lambda feature: bool(features.get(feature))  # noqa: E731
    return tuple(tier for tier in TIERS if all(map(has, tier.features)))


def asked() -> Tier | None:
    """The tier that `BRISK_CPU_TIER` names, None where it is unset or empty.

    Raises BadRequest where no tier has that name or this processor lacks its instructions.
    """
    name = os.environ.get(VARIABLE, "").strip()
    if not name:
        return None
    can = [tier.name for tier in playable()]
    choices = " or ".join(repr(choice) for choice in can) or "no tier at all: unset it"
    if name not in {tier.name for tier in TIERS}:
        raise BadRequest(f"{VARIABLE} is {name!r}, which is no tier: this processor can play {choices}.")
    if name not in can:
        raise BadRequest(f"{VARIABLE} is {name!r}, but this processor lacks its instructions: it can play {choices}.")
    return next(tier for tier in TIERS if tier.name == name)


_played: Tier | None = None
_torch_follows = False


def apply() -> None:
    """Let Numba compile for the tier that is asked for, and torch follow it where it is not imported yet.

    Called before anything is compiled, by the package. Raises BadRequest as `asked` does.
    """
    global _played, _torch_follows
    _played = asked()
    if _played is None:
        return
    config.CPU_NAME = _played.cpu
    config.CPU_FEATURES = ",".join(f"+{feature}" for feature in _played.features)
    if "torch" not in sys.modules:
        os.environ.update(_played.torch)
    _torch_follows = all(os.environ.get(name) == value for name, value in _played.torch.items())


def played() -> str:
    """The name of the tier that `BRISK_CPU_TIER` has kernels compiled for; "" where they are this processor's own."""
    return _played.name if _played else ""


def note() -> str:
    """One sentence on the tier that is played, for whoever reads its numbers; "" where none is."""
    if _played is None:
        return ""
    settings = " ".join(f"{name}={value}" for name, value in _played.torch.items())
    torch = "torch's own products do too" if _torch_follows else f"torch's own products do not, without {settings}"
    return (
        f"The compiled kernels run as on a processor of tier {_played.name}, because {VARIABLE} says so "
        f"(this one's tier is {playable()[-1].name}); {torch}."
    )
