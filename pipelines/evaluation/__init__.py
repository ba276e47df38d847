"""What the four `imdb.py` share: the data, the statistics, the runner and the report."""
