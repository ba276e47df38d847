"""What makes models: losses, optimizers, data, the loop that joins them, and checkpoints that go on where one stopped.

PyTorch differentiates; everything else is here to be read. The engine knows nothing of this room: what is trained
becomes a folder of weights, which is loaded like any other.
"""
