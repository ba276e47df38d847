"""Opening a GGUF file nobody vouches for: every length and offset is checked before the `gguf` library reads it.

The library trusts the counts in the header: a made-up array length would keep it busy without end. Format: GGUF
specification, versions 2 and 3, little-endian (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import BadModel
from engine.weights.files import short

if TYPE_CHECKING:
    import gguf

MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_ITEMS = 4_000_000  # of one array: the largest vocabularies have 260,000 tokens and 520,000 merges
MAX_STRING_BYTES = 16 << 20
MAX_PARAMETERS = 8_000_000_000  # 32 GB in fp32

_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


class GgufError(ValueError):
    """The file breaks the format; the text says how. Becomes a `BadModel` with the file's name."""


def open_gguf(path: Path) -> gguf.GGUFReader:
    """The file's metadata and tensors (memory-mapped). Raises `BadModel` with its name where it is not sound."""
    import gguf

    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check(data)
        return gguf.GGUFReader(path)
    except OSError as error:
        raise BadModel(f"{path.name} cannot be read ({error.strerror or error}).") from error
    except (GgufError, struct.error) as error:
        raise BadModel(f"{path.name} is damaged or no GGUF file: {short(error)}.") from error
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:  # what the library raises
        raise BadModel(f"{path.name} cannot be read as GGUF ({short(error)}).") from error


def field(reader: gguf.GGUFReader, key: str, kind: type, default: Any = None) -> Any:
    """A metadata value.

    Parameters
    ----------
    reader : the file.
    key : the value's name.
    kind : its type: int, float (an int will do), bool, str, or list (of anything).
    default : what is given where the file has no such key; None where it must have it.

    Raises
    ------
    GgufError : the value is missing and there is no default, or it is of another type.
    """
    import gguf

    found = reader.get_field(key)
    if found is None:
        if default is None:
            raise GgufError(f"it has no '{key}'")
        return default
    value = found.contents()
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        # stored in 32 bits: 1e-05, not the 9.999999747378752e-06 that it widens to
        value = float(str(np.float32(value))) if found.types[0] == gguf.GGUFValueType.FLOAT32 else float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise GgufError(f"its '{key}' is a {type(value).__name__} where a {kind.__name__} is due")
    return value


def _check(data: mmap.mmap) -> None:
    cursor = _Cursor(data)
    if data[:4] != b"GGUF":
        raise GgufError("it does not begin with GGUF")
    cursor.at = 4
    version = cursor.read("<I")
    if version not in (2, 3):
        raise GgufError("it is of another version than 2 and 3, or big-endian")
    tensors, keys = cursor.read("<Q"), cursor.read("<Q")
    if tensors > MAX_TENSORS or keys > MAX_KEYS:
        raise GgufError(f"its header claims {tensors:,} tensors and {keys:,} keys")
    alignment = 32
    for _ in range(keys):
        key, kind = cursor.string(), cursor.read("<I")
        if key == b"general.alignment" and kind == 4:
            alignment = cursor.read("<I")
            if alignment <= 0 or alignment & (alignment - 1) or alignment > 1 << 20:
                raise GgufError(f"its alignment is {alignment}")
        else:
            cursor.skip_value(kind)
    spans = [_tensor(cursor, alignment) for _ in range(tensors)]
    start = -(-cursor.at // alignment) * alignment
    for name, offset, size, _ in spans:
        if start + offset + size > len(data):
            raise GgufError(f"it is truncated: '{name}' ends at byte {start + offset + size:,} of {len(data):,}")
    if (total := sum(elements for *_, elements in spans)) > MAX_PARAMETERS:
        raise GgufError(f"it has {total:,} weights, over the limit of {MAX_PARAMETERS:,}")


def _tensor(cursor: _Cursor, alignment: int) -> tuple[str, int, int, int]:
    """Name, offset, bytes and elements of the tensor description at the cursor."""
    import gguf

    name = cursor.string().decode("utf-8", "replace")[:100]
    rank = cursor.read("<I")
    if not 1 <= rank <= 4:
        raise GgufError(f"'{name}' has {rank} dimensions")
    shape = [cursor.read("<Q") for _ in range(rank)]
    kind, offset = cursor.read("<I"), cursor.read("<Q")
    try:
        block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    except (KeyError, ValueError) as error:
        raise GgufError(f"'{name}' has the unknown type {kind}") from error
    elements = math.prod(shape)
    if not 0 < elements <= MAX_PARAMETERS or shape[0] % block or offset % alignment:
        raise GgufError(f"'{name}' of shape {shape} at offset {offset:,} does not fit its type")
    return name, offset, elements // block * block_bytes, elements


class _Cursor:
    """Reads on through the header and never past its end (struct.error there)."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def read(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def skip(self, count: int) -> int:
        start = self.at
        if count > len(self.data) - start:
            raise GgufError(f"it is truncated: {count:,} bytes are due at byte {start:,} of {len(self.data):,}")
        self.at += count
        return start

    def string(self) -> bytes:
        length = self.read("<Q")
        if length > MAX_STRING_BYTES:
            raise GgufError(f"a text in its header claims {length:,} bytes")
        start = self.skip(length)
        return self.data[start : start + length]

    def skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self.string()
        elif kind in _SCALAR_BYTES:
            self.skip(_SCALAR_BYTES[kind])
        elif kind == _ARRAY:
            item, count = self.read("<I"), self.read("<Q")
            if count > MAX_ITEMS:
                raise GgufError(f"an array in its header claims {count:,} items")
            if item in _SCALAR_BYTES:
                self.skip(_SCALAR_BYTES[item] * count)
            elif item == _STRING:
                for _ in range(count):
                    self.string()
            else:
                raise GgufError(f"an array in its header holds items of the unknown type {item}")
        else:
            raise GgufError(f"a value in its header has the unknown type {kind}")
