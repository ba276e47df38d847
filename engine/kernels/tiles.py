"""Sizes that the matrix products share."""

# Bytes read ahead of use: rows side by side are several streams to the processor, which stops guessing what comes.
AHEAD = 4096
# Rows whose weights stay in the nearest caches while many tokens pass: 64 rows of 576 int8 are 36 KB.
BLOCK = 64
