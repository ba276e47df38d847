"""What the tasks add to `python -m engine.benchmark --suite`: their `targets`, and the `worker` that measures them.

The benchmark knows no task. It finds `targets.PARTS` by the entry point `brisk.suite` of the installed distribution.
"""
