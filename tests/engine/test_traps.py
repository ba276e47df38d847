"""What torch's own quantized operators really do: why none of them is used here. Each test is a trap once fallen into.

Where this build of torch lacks an operator, or does not show the trap, the test is skipped and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.model.quantize import quantize_rows
from tests.tiny import make_tiny_model


def operator(name: str, *sample: Any) -> Callable[..., Tensor]:
    """torch.ops.`name`, where it is there and runs on this processor; the test is skipped where not."""
    package, _, function = name.partition(".")
    try:
        found = getattr(getattr(torch.ops, package), function)
        if sample:
            found(*sample)
    except (AttributeError, NotImplementedError, RuntimeError) as error:
        pytest.skip(f"this build of torch does not run {name} here ({str(error).splitlines()[0]})")
    return found


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(64, 64, generator=torch.Generator().manual_seed(0))


def dynamic(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """x -> x W^T by quantized::linear_dynamic, int8 weights."""
    engines = torch.backends.quantized.supported_engines
    if not {"fbgemm", "x86", "onednn", "qnnpack"} & set(engines):
        pytest.skip("this build of torch has no quantized engine")
    scale = float(weight.abs().max()) / 127
    stored = torch.quantize_per_tensor(weight, scale, 0, torch.qint8)
    prepack = operator("quantized.linear_prepack", stored, None)
    packed = prepack(stored, None)
    linear = operator("quantized.linear_dynamic", torch.zeros(1, weight.shape[1]), packed)
    return lambda x: linear(x, packed)


def test_linear_dynamic_has_one_scale_for_all_rows_so_batch_mates_change_a_row(weight: Tensor) -> None:
    """Trap 1: a quiet token beside a loud one is rounded to the loud one's steps."""
    linear = dynamic(weight)
    quiet = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    alone, beside = linear(quiet)[0], linear(torch.cat([quiet, 200 * quiet.flip(-1)]))[0]
    exact = F.linear(quiet, weight)[0]
    error_alone, error_beside = (float((found - exact).norm() / exact.norm()) for found in (alone, beside))
    assert error_alone < 0.05
    assert error_beside > 5 * error_alone


def test_rows_divided_by_their_own_largest_do_not_change_each_other(weight: Tensor) -> None:
    """Trap 1, the way around it: a scale for each token, as our own integer products have (`tests/engine/kernels`
    holds them to the same bits alone and in any batch)."""
    linear = dynamic(weight)
    rows = torch.randn(2, 64, generator=torch.Generator().manual_seed(1)) * torch.tensor([[1.0], [200.0]])
    largest = rows.abs().amax(-1, keepdim=True)
    found, exact = linear(rows / largest) * largest, F.linear(rows, weight)
    assert ((found - exact).norm(dim=-1) / exact.norm(dim=-1) < 0.05).all()


def test_onednn_qlinear_with_signed_activations_is_right_or_is_not_used(weight: Tensor) -> None:
    """Trap 2: on AVX2 without VNNI its sums of products overflowed 16 bits without a word. Where it does, the error is
    far beyond rounding; we use it nowhere, so either outcome is only recorded."""
    wide = torch.full((4, 64), 1.0)
    x_scale, w_scale = 1 / 127, 1 / 127
    x = torch.full((2, 64), 127, dtype=torch.int8)
    w = torch.full((64, 4), 127, dtype=torch.int8)
    prepack = operator("onednn.qlinear_prepack", w.clone(), [2, 64])
    packed = prepack(w.clone(), [2, 64])
    scales, zeros = torch.full((4,), w_scale), torch.zeros(4, dtype=torch.int64)
    arguments: tuple[Any, ...] = (x, x_scale, 0, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
    found = operator("onednn.qlinear_pointwise", *arguments)(*arguments)
    exact = F.linear(torch.ones(2, 64), wide)
    if torch.allclose(found, exact, rtol=0.01):
        pytest.skip("oneDNN's signed int8 products are right on this processor: the trap does not show")
    assert (found - exact).abs().max() > 0.02 * exact.max()


def seconds(run: Callable[[], object]) -> float:
    """Least of several, so that a busy machine counts little."""
    times = []
    for _ in range(7):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def test_weight_int8pack_mm_wants_bf16_activations() -> None:
    """Trap 3: with fp32 activations it is the right product, many times slower than widening would be."""
    weight = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    rounded, scale = quantize_rows(weight.clone())
    stored, x = rounded.to(torch.int8), torch.randn(32, 1024, generator=torch.Generator().manual_seed(1))
    mm = operator("aten._weight_int8pack_mm", x, stored, scale)
    found = mm(x, stored, scale)
    torch.testing.assert_close(found, F.linear(x, stored.float()) * scale, rtol=1e-3, atol=1e-2)
    slow, plain = seconds(lambda: mm(x, stored, scale)), seconds(lambda: F.linear(x, weight))
    if slow < 2 * plain:
        pytest.skip(f"here it takes {slow / plain:.1f} times as long as fp32: the trap does not show")
    assert slow > plain


def test_a_quantized_cache_of_transformers_gives_back_the_whole_text_at_every_step(tmp_path: Any) -> None:
    """Trap 5: each update returns every position widened, so a longer text costs more and nothing is read as int8."""
    import transformers

    pytest.importorskip("optimum.quanto", reason="Transformers' QuantizedCache needs optimum-quanto or hqq")
    make_tiny_model(tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    cache = transformers.QuantizedCache("quanto", config, nbits=4, residual_length=4)
    for _ in range(12):
        step = torch.randn(1, 2, 1, 16)
        keys, _ = cache.update(step, step, 0)
    assert keys.shape[2] == 12 and keys.dtype == torch.float32


@pytest.mark.slow
def test_our_int8_cache_is_read_as_int8_by_the_compiled_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 5, here: a decode step over int8 keys and values never calls `load`, which widens them."""
    from engine.cache.static import StaticCache
    from engine.kernels.compiled import CompiledModel
    from engine.model.decoder import Decoder, Segment
    from tests.engine.random_decoders import MODELS, decoder

    plain = decoder(MODELS["llama"], "fp32")
    arch = plain.arch
    cache = StaticCache(arch.layers, 4, arch.kv_heads, 128, arch.head_dim, precision="int8")
    twin = Decoder(arch, plain.params, cache)
    twin.hidden(torch.arange(3, 40), [Segment(0, 0, 37)])
    expected = twin.logits(twin.hidden(torch.tensor([5]), [Segment(0, 37, 1)])).numpy()
    monkeypatch.setattr(StaticCache, "load", None)
    step = CompiledModel(arch, plain.params, cache, 1, 1, 16, 16)
    found = step(np.array([5]), np.array([37]), np.array([0]))
    assert np.abs(found - expected).max() < 1e-3
