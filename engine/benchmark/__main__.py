"""Runs the benchmark's command; `engine.measure.speed` says how it measures."""

import sys

from engine.measure.benchmark import main
from engine.measure.command import run_app

if __name__ == "__main__":
    sys.exit(run_app(main))
