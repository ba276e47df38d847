"""`text-classification`, also called `sentiment-analysis`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brisk.calls.common import Calls, check_truncation
from engine.errors import BadRequest
from pipelines.classification.heads import head_names, load_head
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.classification.results import LabelScore

if TYPE_CHECKING:
    from engine.engine import Engine

REASONS = {
    "text_pair": "texts are read one by one",
    "max_length": "a text is shortened to the model's window; give EngineConfig(max_context=...) for a smaller one",
    "return_tensors": "results are plain numbers",
}


class TextClassification(Calls[ClassificationPipeline]):
    """Labels with scores, as Transformers 4's `pipeline("text-classification")` gave them.

    It differs in where labels come from. A sequence-classification model gives its own. For a causal model it is the
    head that was trained for it and comes with Brisk, where there is one (the default model has one for sentiment),
    else the labels "positive" and "negative", judged without training. A text over the window keeps its head and tail.
    """

    task = "text-classification"
    makes = ClassificationPipeline

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        names = head_names(engine.info.model) if engine.info.kind == "causal" else []
        self.head = load_head(names[0]) if names else None

    def __call__(
        self,
        inputs: Any,
        *,
        top_k: int | str | None = "",
        return_all_scores: bool | None = None,
        function_to_apply: str | None = None,
        truncation: bool | str | None = None,
        padding: bool | str | None = None,
        batch_size: int | None = None,
        **others: object,
    ) -> Any:
        """The likeliest label of each text.

        Parameters
        ----------
        inputs : a text, a dict `{"text": ...}`, a list of them, or a generator of them.
        top_k : how many labels; None gives all. Without it each text has the one best.
        return_all_scores : True gives all labels, each text's in a list of its own; the older name of `top_k=None`.
        function_to_apply : None, "default" or "softmax": scores are probabilities that sum to 1. Others are refused.
        truncation : True and None mean the same; False is refused.
        padding : changes nothing, for texts of different lengths run together as they are.
        batch_size : texts that run together; None leaves it to the engine.

        Returns
        -------
        `[{"label", "score"}]` for a text, a list of such dicts for a list of texts, one dict for a dict. With `top_k`
        a list of dicts for a text, and a list of such lists for a list of texts.

        Raises
        ------
        BadRequest : an empty or unreadable text, or an argument that cannot be honoured.
        """
        self._refuse(others, REASONS)
        check_truncation(self.task, truncation)
        if function_to_apply not in (None, "default", "softmax"):
            raise BadRequest(f"{self.task} cannot honour 'function_to_apply' as {function_to_apply!r}: give 'softmax'.")
        if (isinstance(top_k, str) and top_k) or (isinstance(top_k, int) and top_k < 1):
            raise BadRequest(f"top_k is {top_k!r}: give 1 or more, or None for all labels.")
        naked = isinstance(top_k, str)  # not given: then the best label is a dict of its own
        most = top_k if isinstance(top_k, int) else None

        def one(text: Any) -> Any:
            scores = self._scores(text)
            if naked and not return_all_scores:
                return scores[0]
            return scores[:most]

        result = self._each(inputs, one, batch_size)
        return [result] if isinstance(inputs, str) and naked else result

    def _scores(self, given: Any) -> list[LabelScore]:
        if isinstance(given, dict):
            self._refuse({name: value for name, value in given.items() if name != "text"}, REASONS)
            given = given.get("text")
        return [LabelScore(**row) for row in self.pipeline(given, head=self.head).scores]
