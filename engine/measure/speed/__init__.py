"""`python -m engine.benchmark`: how fast, beside whom, and what bounds it.

Two regimes. Prefill (pp) runs a prompt through matrix products and is bound by arithmetic; decode (tg) reads every
weight once a token and is bound by memory. One number for both would hide either.

Every candidate, ours too, is a process of its own with the same threads: memory and load time are its own, and no two
thread pools share one. They run in turn, A B C A B C, on the same token ids, so that a machine whose speed drifts is
equally unkind to all; medians are quoted with least and most, and ratios are taken round by round.
"""
