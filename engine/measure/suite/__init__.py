"""`--suite`: every target of the project in one table, from one run (see `table`)."""
