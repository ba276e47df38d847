"""Text to token ids and back: tokenizer, streaming detokenizer, chat template."""
