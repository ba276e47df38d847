"""The integer products as other processors run them: compiled for fewer instructions than this one has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.measure import ceilings as measure

ROOT = Path(__file__).resolve().parents[3]
AVX2 = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2"
EXACT = (
    "test_int8.py::test_int8_products_are_exact[70-160]",
    "test_int8.py::test_activations_come_back_to_half_a_step[1.0-100]",
    "test_int8.py::test_the_largest_sum_does_not_overflow[1-1536]",
    "test_int4.py",
    "test_groups.py::test_products_are_those_of_the_rounded_numbers[17-96-int8]",
    "test_groups.py::test_products_are_those_of_the_rounded_numbers[17-96-int4]",
    "test_groups.py::test_a_token_gets_the_same_bits_in_any_batch",
)


@pytest.mark.parametrize(
    ("needs", "name", "features"),
    [
        pytest.param("avx2", "haswell", AVX2, id="AVX2"),
        pytest.param("avx_vnni", "alderlake", f"{AVX2},+avxvnni", id="AVX-VNNI"),
    ],
)
def test_products_are_as_exact_with_fewer_instructions(needs: str, name: str, features: str) -> None:
    if needs not in measure.processor()[1]:
        pytest.skip(f"this processor has no {needs}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/engine/kernels/{t}" for t in EXACT)],
        cwd=ROOT, env={**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "passed" in done.stdout
