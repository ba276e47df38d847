"""What a model is: its family, its parameters in one precision, and the decoder in plain torch."""
