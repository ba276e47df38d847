"""A Transformer from texts to a folder: vocabulary, model, loop, and what is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from torch.optim import Optimizer

from engine.config import available_threads
from engine.errors import BadRequest, UserError
from engine.measure.machine import machine, versions
from engine.training.data import Labelled, Packed, pack
from engine.training.export import load_weights, save_model
from engine.training.log import Log
from engine.training.loop import BEST, train
from engine.training.losses import IGNORED
from engine.training.optimizers import OPTIMIZERS, make_optimizer
from engine.training.transformer import Sizes, Transformer
from engine.training.vocabulary import END_ID, read_vectors
from pipelines.classification.heads import Head, save_head
from pipelines.classification.rows import Row, labels_of
from pipelines.training.objectives import classification, language_model, measure, taught_by_a_teacher
from pipelines.training.options import Distillation, TransformerOptions
from pipelines.training.texts import encode, make_vocabulary, reader

HEAD = "classifier"  # name of a classification head's files in the model's folder
CHECKPOINTS = "checkpoints"  # folder in the model's folder
REPORT = "training.json"


@dataclass(frozen=True)
class Trained:
    """A trained Transformer.

    Attributes
    ----------
    model : in evaluation mode, with its best weights.
    labels : names of the classes, none of a language model.
    encode : texts to token ids, as in training.
    history : a record for each epoch.
    folder : what was written.
    minutes : of training, all starts together.
    """

    model: Transformer
    labels: tuple[str, ...]
    encode: Callable[[Sequence[str]], list[np.ndarray]]
    history: list[dict[str, Any]]
    folder: Path
    minutes: float


def train_transformer(
    rows: Sequence[Row], options: TransformerOptions, folder: Path, log: Log, vectors: Path | None = None,
    source: str = "", init: Path | None = None, teacher: np.ndarray | None = None,
    distillation: Distillation | None = None,
) -> Trained:  # fmt: skip
    """Train, or go on training, and write the model's folder.

    Parameters
    ----------
    rows : labelled texts; of a language model the labels are not looked at. With a teacher, a row whose label is empty
        has none and hears the teacher alone.
    options : the model and its training.
    folder : of the model; its checkpoints are in it while it is trained.
    log : what is shown.
    vectors : word vectors in GloVe's format, which the embedding begins with where they have a word.
    source : where the texts are from, for the report.
    init : folder of a model trained here, of the same sizes, whose vocabulary and weights it begins with.
    teacher : logits f32 [rows, labels] of a teacher; None trains on labels alone.
    distillation : how the teacher is heard; needed with one.

    Raises
    ------
    UserError : see `engine.training.loop.train`; too few rows or labels; vectors that do not fit.
    """
    o = options
    classify = o.kind == "classification"
    labels = labels_of([row for row in rows if row.label]) if classify else []
    if vectors is not None and o.tokens != "words":
        raise BadRequest("Word vectors need whole words as tokens: take --config imdb-words, or leave --vectors out.")
    own, held = _split(rows, o, classify)
    checkpoints = folder / CHECKPOINTS
    vocabulary = make_vocabulary([rows[i].text for i in own], o, checkpoints, init)
    tokenizer = reader(vocabulary)

    def ids_of(texts: Sequence[str], what: str = "texts") -> list[np.ndarray]:
        if classify:
            return encode(tokenizer, texts, o.max_tokens, what)
        return [np.asarray(tokenizer.encode(text), np.int32) for text in texts]

    model = Transformer(
        Sizes(
            vocabulary.get_vocab_size(), o.embedding, o.heads, o.layers, o.feed_forward, o.max_tokens,
            o.causal, len(labels), o.dropout, o.word_dropout,
        ),
        o.seed,
    )  # fmt: skip
    if init is not None:
        load_weights(model, init)
    if vectors is not None:
        ids, found = read_vectors(vectors, vocabulary, o.embedding)
        with torch.no_grad():
            model.wte.weight[torch.from_numpy(ids)] = torch.from_numpy(found)
        log.say(f"{len(ids):,} of {vocabulary.get_vocab_size():,} words have a vector in {vectors}.")
    data, validation = (
        _data([rows[i] for i in part], labels, ids_of, o, what, taught)
        for part, what, taught in (
            (own, "training texts", None if teacher is None else teacher[own]),
            (held, "validation texts", None),
        )
    )
    count = sum(weight.numel() for weight in model.parameters())
    log.say(
        f"{len(own):,} texts to train on, {len(held):,} to validate on; {vocabulary.get_vocab_size():,} tokens; "
        f"{count / 1e6:.1f} million parameters, {(count - model.wte.weight.numel()) / 1e6:.1f} of them in "
        f"{o.layers} layers{f' and a head of {len(labels)} labels' if classify else ''}."
    )
    judged = classification(model) if classify else language_model(model)
    learnt = judged if distillation is None else taught_by_a_teacher(model, distillation)
    torch.manual_seed(o.seed)
    optimizer = _optimizer(model, o)
    position = train(
        model, optimizer, learnt, data, lambda: measure(judged, validation), o.loop(), checkpoints,
        _run(rows, o, vectors, init, teacher, distillation), log,
    )  # fmt: skip
    trained = Trained(model, tuple(labels), ids_of, position.history, folder, position.seconds / 60)
    _write(trained, vocabulary, o, source, len(rows), distillation)
    if not o.causal:
        log.say(f"It sees both ways, which engines do not run: its weights are {checkpoints / BEST}.")
    return trained


def _split(rows: Sequence[Row], o: TransformerOptions, classify: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are trained on and which validate, ascending; as many of each label in both, and none of the same film
    where all rows say what they are about. Rows without a label validate nothing. BadRequest where too few are left."""
    labelled = np.array([i for i, row in enumerate(rows) if row.label or not classify], np.int64)
    labels = [rows[i].label for i in labelled] if classify else None
    about = [rows[i].about for i in labelled]
    seed = o.seed % 2**32
    try:
        if labels is not None and all(about):
            folds = StratifiedGroupKFold(max(2, round(1 / o.validation)), shuffle=True, random_state=seed)
            held = labelled[next(folds.split(labelled, labels, about))[1]]
        else:
            held = train_test_split(labelled, test_size=o.validation, random_state=seed, stratify=labels)[1]
    except ValueError as error:
        raise BadRequest(
            f"{len(labelled):,} texts are too few to set {o.validation:.0%} of them aside for validation: give more."
        ) from error
    held = np.sort(held)
    return np.setdiff1d(np.arange(len(rows)), held), held


def _data(
    rows: Sequence[Row], labels: Sequence[str], ids_of: Callable[[Sequence[str], str], list[np.ndarray]],
    o: TransformerOptions, what: str, teacher: np.ndarray | None,
) -> Labelled | Packed:  # fmt: skip
    ids = ids_of([row.text for row in rows], what)
    if o.kind != "classification":
        return Packed(pack(ids, END_ID), o.max_tokens, o.batch, o.seed)
    gold = np.array([labels.index(row.label) if row.label else IGNORED for row in rows], np.int64)
    return Labelled(ids, gold, [row.name for row in rows], o.batch, o.seed, teacher)


def _optimizer(model: Transformer, o: TransformerOptions) -> Optimizer:
    groups: list[dict[str, Any]] = model.groups(o.weight_decay)
    if OPTIMIZERS[o.optimizer].decays:
        return make_optimizer(o.optimizer, groups, o.lr, o.weight_decay, o.ours)
    return make_optimizer(o.optimizer, [{"params": group["params"]} for group in groups], o.lr, ours=o.ours)


def _run(
    rows: Sequence[Row], options: TransformerOptions, vectors: Path | None, init: Path | None,
    teacher: np.ndarray | None, distillation: Distillation | None,
) -> str:  # fmt: skip
    """A name for what is trained: the same options, texts, vectors, beginning and teacher give the same. How often
    checkpoints are written changes nothing; what texts are about does, for it says which of them validate."""
    told = {
        **dataclasses.asdict(options), "save_every_s": None, "vectors": str(vectors), "init": str(init),
        "distillation": distillation and dataclasses.asdict(distillation),
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for row in rows:
        digest.update(f"{row.label}\0{row.about}\0{row.text}\0".encode("utf-8", "surrogatepass"))
    if teacher is not None:
        digest.update(np.ascontiguousarray(teacher).tobytes())
    return digest.hexdigest()


def _write(
    trained: Trained, vocabulary: Any, o: TransformerOptions, source: str, rows: int, distillation: Distillation | None
) -> None:
    """The model's folder, its head, and the report. One that sees both ways is kept as its weights alone."""
    model, folder = trained.model, trained.folder
    about = {
        "options": dataclasses.asdict(o), "distillation": distillation and dataclasses.asdict(distillation),
        "rows": rows, "source": source, "labels": list(trained.labels),
        "minutes": round(trained.minutes, 2), "history": trained.history,
        "machine": machine(torch.get_num_threads(), versions(("torch", "tokenizers", "numpy"))),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    if model.sizes.causal:
        save_model(model, vocabulary, folder)
        if model.classify is not None:
            weight, bias = (part.detach().numpy() for part in (model.classify.weight, model.classify.bias))
            facts = {"rows": rows, "source": source, "precision": "fp32"}
            head = Head(
                HEAD, folder.resolve().name, o.layers, o.max_tokens, "mean", trained.labels, weight, bias, facts
            )  # fmt: skip
            save_head(head, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}): make room.") from error


def use_threads(threads: int) -> int:
    """Let torch use so many threads, 0 meaning all that this process may use; the number."""
    count = threads or available_threads()
    torch.set_num_threads(count)
    return count
