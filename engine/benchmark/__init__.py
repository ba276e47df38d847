"""`python -m engine.benchmark`: the door to `engine.measure.speed`."""
