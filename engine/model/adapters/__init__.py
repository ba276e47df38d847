"""Adapters: what a task has learnt, a thin product beside each of the model's matrices."""
