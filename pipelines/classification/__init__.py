"""Classification: `pipeline.py` does it, `tab.py` shows it, `command.py` is its command, `imdb.py` measures it."""

from pipelines import Task

TASK = Task.in_folder(__name__, "Classify", "classify", "ClassificationPipeline", "ClassificationEvaluation", "label")
