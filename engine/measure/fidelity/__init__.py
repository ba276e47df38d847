"""What each precision costs: logits of every position of held-out reviews against those of fp32.

`python -m engine.measure.check --fidelity` prints the table.
"""
