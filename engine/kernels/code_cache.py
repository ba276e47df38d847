"""Where compiled operators are kept on disk: in one place for all copies of the same source.

Numba keeps compiled code by the folder that its source lies in, so that a checkout, an installed wheel and an assembled
Space would each compile anew what they share to the letter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba.core.caching import UserProvidedCacheLocator

FOLDER = Path(__file__).resolve().parent

# For Numba: where code of this package and of others may lie, the first that can be written to.
LOCATORS = f"{__name__}.OperatorsLocator,InTreeCacheLocator,UserWideCacheLocator,IPythonCacheLocator"


def is_operator(py_file: str) -> bool:
    """Whether a source file is one of this package's."""
    return Path(py_file).resolve().parent == FOLDER


class OperatorsLocator(UserProvidedCacheLocator):
    """Keeps what this package compiles under its name alone in `numba.config.CACHE_DIR`, which is named after the
    source. What other packages compile lies where Numba's own locator has it."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """The folder of the code compiled from a source file, relative to the cache's."""
        return FOLDER.name if is_operator(py_file) else str(super().get_suitable_cache_subpath(py_file))

    def get_source_stamp(self) -> Any:
        """What tells that a source file has changed: nothing has to, where the folder's name does."""
        return "" if is_operator(self._py_file) else super().get_source_stamp()
