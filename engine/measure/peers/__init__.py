"""Other engines on the same weights and tokens (see `registry`)."""
