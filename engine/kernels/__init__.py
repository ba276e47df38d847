"""The operators: each fast one beside its slow twin. Importing this package settles how Numba runs here, and for which
kind of processor it compiles (`kernels.tiers`).

Compiled code is cached on disk (in `NUMBA_CACHE_DIR` where that is set, else beside the models) under a name made from
the kernels' own source, because Numba notices a change only in the file of the function it cached, not in the functions
that one calls.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numba
from numba.core import config
from numba.np import linalg


def _settle() -> None:
    """Set Numba's options. Raises BadRequest where `BRISK_CPU_TIER` names a tier that cannot be played."""
    from engine.kernels import code_cache, tiers

    tiers.apply()
    source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    digest = hashlib.sha256(source + numba.__version__.encode()).hexdigest()[:16]
    from engine.weights.cache import cache_root

    named = os.environ.get("NUMBA_CACHE_DIR")
    config.CACHE_DIR = str((Path(named) if named else cache_root() / "kernels") / digest)
    config.CACHE_LOCATOR_CLASSES = code_cache.LOCATORS
    # Before it loads any compiled code, Numba imports scipy.linalg to see whether it is there: measured, 0.25 s and
    # 15 MB. Code that calls it would import it then.
    linalg.ensure_blas = lambda: None


_settle()
