"""One home for measuring. What tasks measure of themselves (`pipelines.evaluation`) uses it too.

Shared: `reviews` (IMDB, read, cleaned, drawn), `statistics` (figures with intervals), `sheet` (tables in every form),
`machine` and `process` (what a figure depends on), `worker` (a candidate in a process of its own), `command`.

Speed: `ceilings`, `peers`, `speed`, `suite`, and `benchmark`, the command of them all. Faithfulness: `parity`,
`lossless`, `fidelity`, and `check`, theirs.
"""
