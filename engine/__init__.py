"""The accelerated engine under every task: see `engine.engine.Engine`."""

from typing import TYPE_CHECKING

from engine.config import EngineConfig, SamplingParams
from engine.errors import BadModel, BadRequest, UserError
from engine.serving.cancellation import Cancellation, Cancelled

if TYPE_CHECKING:
    from engine.engine import Engine, shared_engine

__all__ = [
    "BadModel", "BadRequest", "Cancellation", "Cancelled", "Engine", "EngineConfig", "SamplingParams", "UserError",
    "shared_engine",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """`Engine` and `shared_engine` on first use: torch is imported only when a model is wanted, not for `--help`."""
    if name in ("Engine", "shared_engine"):
        import engine.engine

        return getattr(engine.engine, name)
    raise AttributeError(f"module 'engine' has no attribute '{name}'")
