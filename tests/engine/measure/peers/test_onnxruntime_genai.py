"""A fixed count of tokens for each of a batch, and the bytes that a step reads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.measure.peers.onnxruntime_genai import OnnxRuntimeGenAI, read_bytes


class Params:
    def __init__(self, model: Any) -> None:
        self.options: dict[str, Any] = {}

    def set_search_options(self, **options: Any) -> None:
        self.options = options


class Generator:
    """Counts up from the last token of each prompt."""

    def __init__(self, model: Any, params: Params) -> None:
        self.most = params.options["max_length"]
        assert params.options["min_length"] == self.most and not params.options["do_sample"]

    def append_tokens(self, ids: np.ndarray) -> None:
        assert ids.dtype == np.int32
        self.rows = ids.tolist()

    def generate_next_token(self) -> None:
        for row in self.rows:
            assert len(row) < self.most
            row.append(row[-1] + 1)

    def get_sequence(self, index: int) -> np.ndarray:
        return np.array(self.rows[index])


def test_each_of_a_batch_has_as_many_tokens_as_asked_for() -> None:
    server = OnnxRuntimeGenAI()
    server._np, server._model = np, None  # stands in for what `start` and `load` make
    server._genai = SimpleNamespace(GeneratorParams=Params, Generator=Generator)
    answer = server.run([[3, 4, 5], [7, 8, 9]], 6)
    assert answer["tokens"] == [list(range(6, 12)), list(range(10, 16))] and answer["decoded"] == 10
    assert answer["whole_s"] == pytest.approx(answer["ttft_s"] + answer["decode_s"])


@pytest.mark.parametrize(("dtype", "read"), [("int4", 1000), ("int8", 1000 - 4 * 20 * 3)])
def test_an_embedding_beside_the_head_is_not_read(tmp_path: Path, dtype: str, read: int) -> None:
    (tmp_path / "model.onnx.data").write_bytes(bytes(1000))
    config = {"model": {"vocab_size": 20, "decoder": {"hidden_size": 3}}}
    (tmp_path / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert read_bytes(tmp_path, dtype) == read
