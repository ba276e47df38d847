"""A task of another package: it counts the vowels of a text. Laid out as the folders in `pipelines` are."""

from pipelines import Task

TASK = Task.in_folder(__name__, "Vowels", "vowels", "VowelPipeline", "VowelEvaluation")
