"""Our engine with the tasks on it, as a worker of the suite: asked for the tasks' own prompts, and run on them."""

from __future__ import annotations

import time
from typing import Any

from engine.config import SamplingParams
from engine.measure.speed.brisk import Brisk
from engine.measure.worker import serve
from pipelines.classification.heads import head_names, load_head
from pipelines.classification.pipeline import DEFAULT_LABELS, ClassificationPipeline
from pipelines.evaluation.data import LABELS, Review, balanced_sample
from pipelines.generation.pipeline import GenerationPipeline
from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
from pipelines.summarization.pipeline import SummarizationPipeline

SEED = 0
MOST_TOKENS = 1200  # longer reviews are left out of prompts that must fit beside their answer, in any engine
QUESTIONS = (
    "What does the writer like about the film, in the writer's own words?",
    "Who plays in the film, and how well?",
    "What happens in the story?",
    "Which sentences of the text say what the writer thinks of it?",
    "What is the film called, and what kind of film is it?",
)
GREEDY = SamplingParams(max_tokens=8)


class _Asked(Exception):
    """Carries what a pipeline asked of the engine, which is then not run."""

    def __init__(self, prompt: list[int], choices: list[list[int]]) -> None:
        self.prompt, self.choices = prompt, choices


class _Listener:
    """An engine to a pipeline's eyes, whose `score` and `stream` only tell what they were asked."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def score(self, prompts: Any, choices: Any, *, adapter: Any = None) -> Any:
        raise _Asked(list(prompts[0]), [list(choice) for choice in choices])

    def stream(self, prompt: Any, params: Any = None, *, adapter: Any = None) -> Any:
        raise _Asked(list(prompt), [])


class Tasks(Brisk):
    """The tasks on one engine, with reuse and speculation as a user has them."""

    def start(self) -> None:
        super().start()
        import pandas  # noqa: F401 - belongs to the empty process too

    def load(self, **config: Any) -> dict[str, Any]:
        return super().load(**{"prefix_cache_mb": 256, "speculation": True, **config})

    def _reviews(self, count: int, most: int = MOST_TOKENS) -> list[Review]:
        """`count` reviews of the IMDB test split, seeded, none longer than `most` tokens."""
        sample = balanced_sample("test", 2 * count, SEED).reviews
        encode = self.engine.tokenizer.encode
        return [review for review in sample if len(encode(review.text)) <= most][:count]

    def label_prompts(self, count: int) -> dict[str, Any]:
        """The classification prompts of `count` reviews and the labels, all in token ids, and the name of the model's
        trained head, empty where Brisk brings none."""
        pipeline = ClassificationPipeline(_Listener(self.engine))  # type: ignore[arg-type]
        asked = [
            self._ask(lambda text=review.text: pipeline.judge(text, DEFAULT_LABELS)) for review in self._reviews(count)
        ]
        head = next(iter(head_names(self.engine.info.model)), "")
        return {"prompts": [one.prompt for one in asked], "choices": asked[0].choices, "head": head}

    def by_head(self, head: str, count: int, part: int, parts: int) -> dict[str, Any]:
        """Reviews judged by a trained head, one at a time and none read before.

        Parameters
        ----------
        head : name of a trained one.
        count : reviews in all, those of `label_prompts`.
        part, parts : every `parts`-th of them from `part` on.

        Returns
        -------
        `seconds`, and `right`: how many the head gave their own label.
        """
        classify, loaded = ClassificationPipeline(self.engine), load_head(head)
        reviews = self._reviews(count)[part::parts]
        self.engine.reset_prefix_cache()
        began = time.perf_counter()
        found = [classify(review.text, head=loaded).scores[0]["label"] for review in reviews]
        seconds = time.perf_counter() - began
        right = sum(label == LABELS[review.label] for label, review in zip(found, reviews, strict=True))
        return {"seconds": seconds, "right": right}

    def writing_prompts(self, count: int) -> dict[str, Any]:
        """Half of them ask for a summary of a review, half put a question about it to the chat."""
        listener: Any = _Listener(self.engine)
        summarize, chat = SummarizationPipeline(listener), GenerationPipeline(listener)
        prompts = []
        for i, review in enumerate(self._reviews(count)):
            if i % 2:
                question = f"{review.text}\n\n{QUESTIONS[i // 2 % len(QUESTIONS)]}"
                asked = self._ask(lambda text=question: list(chat.stream(text, params=GREEDY)))
            else:
                asked = self._ask(lambda text=review.text: summarize(text))
            prompts.append(asked.prompt)
        return {"prompts": prompts}

    @staticmethod
    def _ask(call: Any) -> _Asked:
        try:
            call()
        except _Asked as asked:
            return asked
        raise RuntimeError("the pipeline answered without asking the engine")

    def four_tasks(self, count: int) -> dict[str, Any]:
        """Each review through all four tasks, reviews never seen before: prompt tokens computed and reused, as the
        engine counts them. The content-free inputs of calibration are computed before, as they are once a process."""
        classify, summarize = ClassificationPipeline(self.engine), SummarizationPipeline(self.engine)
        answer, chat = QuestionAnsweringPipeline(self.engine), GenerationPipeline(self.engine)
        first, *reviews = self._reviews(count + 1)
        classify(first.text)
        computed, reused = self.engine.prompt_tokens_computed, self.engine.prompt_tokens_reused
        for i, review in enumerate(reviews):
            classify(review.text)
            summarize(review.text, length="short")
            answer(QUESTIONS[i % len(QUESTIONS)], review.text)
            chat(review.text, params=GREEDY)
        return {
            "computed": self.engine.prompt_tokens_computed - computed,
            "reused": self.engine.prompt_tokens_reused - reused,
        }


if __name__ == "__main__":
    serve(Tasks())
