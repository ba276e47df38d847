"""Where weights come from, checked before they are trusted: `resolve` a name, then `load_config` and `load_state`."""

from engine.weights.files import ModelFiles, load_config
from engine.weights.integrity import check_shapes, load_state
from engine.weights.registry import REGISTRY
from engine.weights.resolve import resolve

__all__ = ["REGISTRY", "ModelFiles", "check_shapes", "load_config", "load_state", "resolve"]
