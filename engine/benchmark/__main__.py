"""Runs the benchmark's command; `engine.measure.speed` says how it measures."""

from engine.measure.check import run
from engine.measure.speed.__main__ import main

if __name__ == "__main__":
    run(main)
