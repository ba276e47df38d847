"""From logits to text: sampling, guesses, stop strings, and the search of answers among given tokens."""
