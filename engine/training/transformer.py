"""A Transformer of GPT-2's shape to train (Radford et al. 2019): small enough to read, saved as any engine reads it.

Its matrices lie [out, in]; `export` gives weights the names and layouts of Transformers' `GPT2LMHeadModel`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import BadRequest

EPS = 1e-5
SPREAD = 0.02  # of weights at the start, as in GPT-2


@dataclass(frozen=True)
class Sizes:
    """What a Transformer is made of.

    Attributes
    ----------
    vocabulary, embedding, heads, layers, feed_forward : the usual five; heads divide the embedding, into even parts.
    context : positions there are embeddings for.
    causal : whether a token sees only those before it, as generation needs; else all of its text.
    labels : classes of a classification head; 0 has the language-model head, which is the embedding again.
    dropout : share of numbers set to zero while training.
    word_dropout : share of tokens whose whole embedding is zero while training (Gal and Ghahramani 2016): a text is to
        be told by more than its few loudest words.
    """

    vocabulary: int
    embedding: int = 512
    heads: int = 8
    layers: int = 3
    feed_forward: int = 1024
    context: int = 512
    causal: bool = True
    labels: int = 0
    dropout: float = 0.1
    word_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocabulary", "embedding", "heads", "layers", "feed_forward", "context"):
            if getattr(self, name) < 1:
                raise BadRequest(f"The Transformer's {name} is {getattr(self, name)}: give 1 or more.")
        if self.embedding % self.heads or self.embedding // self.heads % 2:
            raise BadRequest(
                f"An embedding of {self.embedding} does not divide into {self.heads} heads of even width: change one."
            )
        if self.labels == 1 or self.labels < 0:
            raise BadRequest(f"A classification head with {self.labels} labels tells nothing apart: give 2 or more.")
        if not self.labels and not self.causal:
            raise BadRequest("A language model that sees the words it guesses learns nothing: make it causal.")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise BadRequest(f"{name} is {getattr(self, name)}: give 0 or more, below 1.")


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        d = sizes.embedding
        self.heads, self.causal, self.dropout = sizes.heads, sizes.causal, sizes.dropout
        self.ln_1, self.ln_2 = nn.LayerNorm(d, EPS), nn.LayerNorm(d, EPS)
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.c_fc, self.c_out = nn.Linear(d, sizes.feed_forward), nn.Linear(sizes.feed_forward, d)
        self.drop = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x f32 [B, L, D]; mask bool [B, 1, 1, L], True where there is a token, None where nothing needs hiding."""
        b, length, d = x.shape
        q, k, v = (
            part.view(b, length, self.heads, -1).transpose(1, 2) for part in self.c_attn(self.ln_1(x)).split(d, 2)
        )
        seen = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal)  # [B, H, L, D / H]
        x = x + self.drop(self.c_proj(seen.transpose(1, 2).reshape(b, length, d)))
        inner = functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")
        return x + self.drop(self.c_out(inner))


class Transformer(nn.Module):
    """Token and position embeddings, blocks, a last norm, and a head.

    Parameters
    ----------
    sizes : see `Sizes`.
    seed : of the weights it begins with: normal with a spread of 0.02, those that end a branch smaller by the root of
        the number of branches, so that the sum of all does not grow with depth (GPT-2).
    """

    def __init__(self, sizes: Sizes, seed: int = 0) -> None:
        super().__init__()
        self.sizes = sizes
        self.wte = nn.Embedding(sizes.vocabulary, sizes.embedding)
        self.wpe = nn.Embedding(sizes.context, sizes.embedding)
        self.drop = nn.Dropout(sizes.dropout)
        self.h = nn.ModuleList([Block(sizes) for _ in range(sizes.layers)])
        self.ln_f = nn.LayerNorm(sizes.embedding, EPS)
        self.classify = nn.Linear(sizes.embedding, sizes.labels) if sizes.labels else None
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif ".ln_" not in f".{name}":
                smaller = math.sqrt(2 * sizes.layers) if "c_proj" in name or "c_out" in name else 1.0
                nn.init.normal_(weight, std=SPREAD / smaller, generator=generator)

    def hidden(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """States after the last norm, f32 [B, L, D], of ids int64 [B, L] whose texts have `lengths` int64 [B].

        In a causal model no token sees the padding behind it; in one that sees both ways it is hidden.
        """
        length = ids.shape[1]
        if length > self.sizes.context:
            raise BadRequest(
                f"A text has {length} tokens, and the model has {self.sizes.context} positions: shorten it."
            )
        words = self.wte(ids)
        if self.training and self.sizes.word_dropout:
            whole = torch.ones(*ids.shape, 1, dtype=words.dtype, device=ids.device)
            words = words * functional.dropout(whole, self.sizes.word_dropout)
        x = self.drop(words + self.wpe(torch.arange(length, device=ids.device)))
        real = torch.arange(length, device=ids.device) < lengths[:, None]  # [B, L]
        mask = None if self.sizes.causal or bool(real.all()) else real[:, None, None]
        for block in self.h:
            x = block(x, mask)
        states: Tensor = self.ln_f(x)
        return states

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits: of classes f32 [B, labels], from the mean state of each text; or of next tokens f32 [B, L, V]."""
        states = self.hidden(ids, lengths)
        if self.classify is None:
            return functional.linear(states, self.wte.weight)
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        mean = (states * real[..., None]).sum(1) / lengths[:, None]  # [B, D]
        logits: Tensor = self.classify(mean)
        return logits

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Parameters for an optimizer: matrices decay; norms, biases and embeddings do not."""
        decays: list[Tensor] = []
        rest: list[Tensor] = []
        for name, weight in self.named_parameters():
            (decays if weight.ndim == 2 and "wte" not in name and "wpe" not in name else rest).append(weight)
        return [{"params": decays, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
