"""Tasks measured on IMDB reviews: what their `imdb.py` share, and the command that runs them.

A task brings an `interface.Evaluation`. `data` gives the sample, `runner` writes a row a review, `report` makes tables
and a picture of the rows alone, `paired` compares precisions review by review, `prices` is all of it on one page.
"""
