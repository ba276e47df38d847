"""What importing the operators settles."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

from numba.core.dispatcher import Dispatcher

from engine import kernels


def test_compiled_code_loads_without_all_of_scipy() -> None:
    """Numba would import it to see whether it is there: a quarter of a second of every start."""
    code = (
        "import sys; import engine.kernels; import numba; assert numba.njit(lambda: 1)() == 1; "
        "print('scipy.linalg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "False"


def test_no_two_compiled_functions_share_a_name() -> None:
    """Code read from disk is linked by it: see `inner.distinct`."""
    found: dict[tuple[str, str], object] = {}
    modules = [importlib.import_module(f"engine.kernels.{m.name}") for m in pkgutil.iter_modules(kernels.__path__)]
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Dispatcher):
                function = value.py_func
                name = function.__module__, function.__qualname__
                assert found.setdefault(name, value) is value, name
    assert len(found) > 40
