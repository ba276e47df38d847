"""One home for measuring: speed and its ceilings, losses of precision, checks of fast paths."""
