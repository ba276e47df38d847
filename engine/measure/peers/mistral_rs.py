"""mistral.rs's Runner. Weights are quantized as it loads them (its in-situ quantization), activations are float32, keys
and values float16.

It takes and gives text alone, so it is handed a tokenizer in which every token is its own number: `<17>` is token 17.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from engine.errors import BadRequest
from engine.measure.worker import serve

WORD = r"<[^<>]+>"
PLAIN = "{% for message in messages %}{{ message['content'] }}{% endfor %}"  # a chat template that adds nothing
Q8_0_BYTES, Q8_0_WEIGHTS = 34, 32  # of a block: 32 bytes and a scale of two


class MistralRs:
    def start(self) -> None:
        import mistralrs

        self._lib = mistralrs

    def load(self, model: str, dtype: str, threads: int, batch: int, **_: Any) -> dict[str, Any]:
        """See `engine.measure.worker.Server`.

        Parameters
        ----------
        model : folder of the weights.
        dtype : of its quantized matrices, "Q8_0" or "Q4K".
        threads : CPU threads; its pools read their number from the environment when they are first used.
        batch : texts side by side, of which it can have one.

        Raises
        ------
        BadRequest : several texts are to be read at once.
        """
        if batch > 1:
            raise BadRequest("several prompts at once end in an error of its own; it can run one.")
        from importlib.metadata import version

        lib = self._lib
        os.environ["RAYON_NUM_THREADS"] = os.environ["CANDLE_NUM_THREADS"] = str(threads)
        with tempfile.TemporaryDirectory() as work:
            tokenizer, template = Path(work) / "tokenizer.json", Path(work) / "plain.jinja"
            vocabulary = numbered(Path(model))
            tokenizer.write_text(json.dumps(tokenizer_of(vocabulary)), encoding="utf-8")
            template.write_text(PLAIN, encoding="utf-8")
            self._ids, self._words = vocabulary, {i: word for word, i in vocabulary.items()}
            which = lib.Which.Plain(
                model_id=model, arch=lib.Architecture.Llama, dtype=lib.ModelDType.F32, tokenizer_json=str(tokenizer)
            )
            self._runner = lib.Runner(
                which, max_seqs=1, prefix_cache_n=0, token_source="none", in_situ_quant=dtype,
                jinja_explicit=str(template),
            )  # fmt: skip
        return {
            "versions": {"mistralrs": version("mistralrs")},
            "dtype": dtype,
            "kv": "half",
            # A row that blocks of 256 do not divide is stored in a type of its choice, whose size it does not say.
            "weight_bytes": matrices(Path(model)) * Q8_0_BYTES // Q8_0_WEIGHTS if dtype == "Q8_0" else None,
        }

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        """The one prompt, continued.

        Raises
        ------
        RuntimeError : another number of tokens comes than asked for.
        """
        [prompt] = prompts
        text, times = "", []
        request = self._lib.ChatCompletionRequest(
            messages="".join(self._words[i] for i in prompt), model="default", max_tokens=new, temperature=0.0,
            ignore_eos=True, stream=True,
        )  # fmt: skip
        began = time.perf_counter()
        for part in self._runner.send_chat_completion_request(request):
            times.append(time.perf_counter())
            text += part.choices[0].delta.content or ""
        tokens = [self._ids[word] for word in re.findall(WORD, text)]
        if len(tokens) != new or len(times) != new:
            raise RuntimeError(f"{len(tokens)} tokens came in {len(times)} parts where {new} were asked for")
        return {
            "ttft_s": times[0] - began,
            "decode_s": times[-1] - times[0],
            "decoded": new - 1,
            "whole_s": times[-1] - began,
            "tokens": [tokens],
        }


def numbered(folder: Path) -> dict[str, int]:
    """A vocabulary of numbers for the model in `folder`: the token 17 is `<17>`. The end alone keeps its name, by which
    mistral.rs looks for it."""
    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    vocabulary = {f"<{i}>": i for i in range(size)}
    names = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for token in json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]:
        if token["content"] == names.get("eos_token"):
            del vocabulary[f"<{token['id']}>"]
            vocabulary[token["content"]] = token["id"]
    return vocabulary


def matrices(folder: Path) -> int:
    """Weights of all matrices, from the headers of the safetensors in `folder`."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        total += sum(shape[0] * shape[1] for shape in shapes if len(shape) == 2)
    return total


def tokenizer_of(vocabulary: dict[str, int]) -> dict[str, Any]:
    """A tokenizer.json that splits a text into words `<...>`, each a token."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": byte_level,  # joins words without a space between
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<0>"},
    }


if __name__ == "__main__":
    serve(MistralRs())
