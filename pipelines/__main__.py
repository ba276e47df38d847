"""`python -m pipelines TASK ...`: the tasks by script.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 2 a request that cannot be run, 130 Ctrl-C.
"""

from __future__ import annotations

import sys

import typer

from pipelines.cli import add_task_commands, run_app

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
add_task_commands(app)


def main() -> int:
    """The command line; returns the exit code."""
    return run_app(app)


if __name__ == "__main__":
    sys.exit(main())
