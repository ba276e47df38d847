"""Narrower processors played by this one: which there are, what is said of them, and the kernel tests run as each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadRequest
from engine.kernels import choice, tiers
from tests.engine.conftest import Models

ROOT = Path(__file__).resolve().parents[3]

# What is run as every tier: all tests of operators and names, and of the compiled step and prefill those of one model
# that hold them to their twins. The others compile every kind of weights again, for minutes.
AS_EVERY_TIER = (
    "test_package.py", "test_team.py", "test_scalars.py", "test_vectors.py", "test_register_tiles.py",
    "test_attention.py", "test_int8.py", "test_int4.py", "test_groups.py", "test_linear.py", "test_packed.py",
    "test_barrier.py", "test_panel_sums.py",
    "test_step.py::test_logits_equal_the_torch_twin_of_the_same_weights[int8-wide]",
    "test_step.py::test_logits_equal_the_torch_twin_of_the_same_weights[int4-wide]",
    "test_prefill.py::test_the_residual_stream_equals_the_torch_twin[int8-wide]",
    "test_prefill.py::test_the_residual_stream_equals_the_torch_twin[fp32-wide]",
)  # fmt: skip


def run(tier: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, its kernels (and torch) held to a tier."""
    torch = next((one.torch for one in tiers.TIERS if one.name == tier), {})
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **torch, tiers.VARIABLE: tier},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def has(*features: str) -> tuple[str, ...]:
    return tuple(tier.name for tier in tiers.playable(lambda feature: feature in features))


def needs(name: str) -> tuple[str, ...]:
    return next(tier.features for tier in tiers.TIERS if tier.name == name)


Runs = dict[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    """The kernel tests as every tier narrower than this processor's own, side by side: each compiles on one core."""
    tests = [f"tests/engine/kernels/{name}" for name in AS_EVERY_TIER]
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    with ThreadPoolExecutor() as pool:
        yield {tier.name: pool.submit(run, tier.name, *command) for tier in tiers.playable()[:-1]}


@pytest.mark.slow
@pytest.mark.skipif(tiers.asked() is not None, reason="all tests run as one tier already")
@pytest.mark.parametrize("tier", [tier.name for tier in tiers.TIERS])
def test_the_kernel_tests_pass_as_this_tier(tier: str, request: pytest.FixtureRequest) -> None:
    can = [tier.name for tier in tiers.playable()]
    if tier not in can:
        pytest.skip("this processor lacks the instructions")
    if tier == can[-1]:
        pytest.skip("this processor's own: all the other tests run as this tier")
    runs: Runs = request.getfixturevalue("runs")  # only where one is wanted
    done = runs[tier].result()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "passed" in done.stdout


def test_a_processor_plays_every_tier_whose_instructions_it_has() -> None:
    assert has() == has("neon", "dotprod") == ()
    assert has(*needs("avx2")) == ("avx2",)
    assert has(*needs("avx-vnni")) == ("avx2", "avx-vnni")
    assert has(*needs("avx512")) == ("avx2", "avx512")
    assert has(*needs("avx512-vnni")) == ("avx2", "avx512", "avx512-vnni")
    assert has(*needs("avx512-vnni"), *needs("avx-vnni")) == tuple(tier.name for tier in tiers.TIERS)


def test_unless_one_is_asked_for_none_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", " "):
        monkeypatch.setenv(tiers.VARIABLE, value)
        assert tiers.asked() is None
    monkeypatch.delenv(tiers.VARIABLE)
    assert tiers.asked() is None


def test_an_unknown_tier_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tiers.VARIABLE, "pentium")
    with pytest.raises(BadRequest, match=f"{tiers.VARIABLE} is 'pentium', which is no tier: this processor can play"):
        tiers.asked()


def test_a_tier_that_this_processor_cannot_play_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "TIERS", (*tiers.TIERS, tiers.Tier("of-2040", "haswell", ("avx2040",), {})))
    monkeypatch.setenv(tiers.VARIABLE, "of-2040")
    with pytest.raises(BadRequest, match="'of-2040', but this processor lacks its instructions: it can play"):
        tiers.asked()


@pytest.mark.slow
def test_an_engine_asked_for_an_unknown_tier_raises_that_sentence(models: Models) -> None:
    done = run(
        "pentium", "-c",
        f"from engine import Engine, EngineConfig; Engine(EngineConfig({str(models('llama'))!r}, precision='fp32'))",
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith(f"engine.errors.BadRequest: {tiers.VARIABLE} is 'pentium'")


@pytest.mark.skipif(not tiers.playable(), reason="no tier is this processor's")
def test_what_is_compiled_is_the_tiers_and_the_note_says_so() -> None:
    name = tiers.playable()[0].name
    done = run(
        name, "-c",
        "import numba, numpy\n"
        "from engine.kernels import llvm, tiers\n"
        "@numba.njit\n"
        "def double(x):\n"
        "    for i in range(x.shape[0]):\n"
        "        x[i] *= 2\n"
        "double(numpy.ones(64, numpy.float32))\n"
        "(code,) = double.inspect_asm().values()\n"
        "print('zmm' in code, 'ymm' in code, llvm.has('avx512f'), llvm.has('avx2'), tiers.played())\n"
        "print(tiers.note())",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compiled, note = done.stdout.splitlines()
    assert compiled == f"False True False True {name}"
    assert f"run as on a processor of tier {name}, because {tiers.VARIABLE} says so" in note
    assert note.endswith("torch's own products do too.")


def test_a_note_says_where_torch_does_not_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    if not tiers.playable():
        pytest.skip("no tier is this processor's")
    monkeypatch.setattr(tiers, "_played", tiers.TIERS[0])  # private: this process has compiled already
    monkeypatch.setattr(tiers, "_torch_follows", False)
    assert "do not, without ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2" in tiers.note()


def test_what_was_measured_as_one_tier_is_not_used_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def way(ids: np.ndarray) -> None:
        calls.append(len(ids))

    monkeypatch.setattr(choice, "table_file", lambda: tmp_path / "prefill.json")
    for tier in tiers.TIERS[:2]:
        monkeypatch.setattr(tiers, "played", lambda tier=tier: tier.name)
        for _ in choice.choose_prefill("auto", way, way, "a model"):
            pass
    assert len(choice.read_table()) == 2
    assert len(calls) == 2 * 2 * (1 + choice.ROUNDS)
