"""Sizes that the matrix products share."""

# Bytes read ahead of use: rows side by side are several streams to the processor, which stops guessing what comes.
AHEAD = 4096
# Rows whose weights stay in the nearest caches while many tokens pass: 32 rows of 576 int8 are 18 KB. Most matrices
# have an even number of them, so that two cores end together.
BLOCK = 32
