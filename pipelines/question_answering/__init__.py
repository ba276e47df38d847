"""The question answering task: `pipeline.py` does it, `imdb.py` measures it, `tab.py` shows it."""
