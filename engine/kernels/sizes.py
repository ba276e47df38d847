"""Sizes that the operators share: what is read ahead, what stays in caches, and what a processor's registers hold."""

from __future__ import annotations

from engine.kernels import llvm

# Bytes read ahead of use: rows side by side are several streams to the processor, which stops guessing what comes.
AHEAD = 4096
# Rows whose weights stay in the nearest caches while many tokens pass: 32 rows of 576 int8 are 18 KB. Most matrices
# have an even number of them, so that two cores end together.
BLOCK = 32

# Bits of the vectors whose bytes the processor multiplies by fours (vpdpbusd), 0 where it does not.
VNNI = 512 if llvm.has("avx512vnni") else 256 if llvm.has("avxvnni") else 0

_WIDE = llvm.has("avx512f")  # 32 registers of 512 bits, else 16 of 256
# Tokens whose sums a tile of an integer product keeps in registers. Even.
TOKENS = 8 if _WIDE else 2
# The same in a tile of two panels, whose sums by groups of columns take as many again.
GROUPED = 6 if _WIDE else 1
# Floats of a vector in tiles of twelve sums for three heads that share keys and values: one register each.
LANES = 16 if _WIDE else 8
# Tokens whose sums with a packed panel of 16 rows fill the registers (`kernels.packed`). A multiple of 3.
PACKED = 12 if _WIDE else 6


def near(tokens: int) -> bool:
    """Whether a product of so many tokens asks for its weights to come to the nearest cache, rather than to the next,
    which has room for more lines under way. Narrow vectors take so many instructions a line that one token's product
    does not look far enough ahead to hide the way from there."""
    return tokens == 1 and not _WIDE
