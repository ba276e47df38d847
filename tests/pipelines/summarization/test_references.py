"""Documents with reference summaries, and ROUGE."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from engine.measure.reviews import BadData
from pipelines.summarization.references import read_references, rouge


def test_documents_are_drawn_by_the_seed_with_their_summaries(tmp_path: Path) -> None:
    rows = [{"id": i, "document": f"Document {i}.", "summary": f" Short {i}. "} for i in range(9)]
    file = tmp_path / "x.parquet"
    pd.DataFrame([*rows, {"id": 9, "document": "", "summary": "None."}]).to_parquet(file)
    found = read_references(file, 4, 0)
    assert found == read_references(file, 4, 0) and len(found) == 4 and len(read_references(file, 99, 0)) == 9
    number = found[0].id.removeprefix("reference/")
    assert (found[0].text, found[0].about["reference"]) == (f"Document {number}.", f"Short {number}.")


def test_files_without_summaries(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no file"):
        read_references(tmp_path / "x.parquet", 1, 0)
    pd.DataFrame([{"id": 1, "document": "a"}]).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(BadData, match="no column summary"):
        read_references(tmp_path / "x.parquet", 1, 0)


def test_rouge_of_the_summary_and_of_the_lead() -> None:
    assert rouge([]) == []
    rows = [{"reference": "The cats sat down.", "summary": "The cat sat down.", "lead": "Dogs bark."}] * 2
    found = {figure.name: figure for figure in rouge(rows)}
    assert found["rouge1, summary"].value == found["rougeL, summary"].value == 1  # the stemmer makes cats one cat
    assert found["rouge2, LEAD-3"].value == 0 and found["rouge1, summary"].n == 2
