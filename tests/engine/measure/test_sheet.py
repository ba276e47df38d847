"""One result in every form: what a person reads, a page, a script."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from engine.measure.sheet import Sheet, as_csv, as_json, markdown_page, markdown_table, print_sheets, show

SHEET = Sheet("Speeds", ("name", "value"), (("a|b", "1.0\n[0.9, 1.1]"), ("c", "holds")), right=("value",))
DATA = {"rows": [{"name": "c", "speed": {"median": 2.0, "most": 3.0}, "tokens": (1, 2)}], "undefined": math.nan}


def test_markdown_escapes_bars_joins_lines_and_sets_numbers_right() -> None:
    assert markdown_table(SHEET).splitlines() == [
        "| name | value |", "| --- | ---: |", "| a\\|b | 1.0 [0.9, 1.1] |", "| c | holds |",
    ]  # fmt: skip


def test_a_page_fences_what_holds_a_fence() -> None:
    page = markdown_page("Title", ["a fact"], [SHEET], ["a remark"], {"Prompt": "```\ncode\n```"})
    assert page.startswith("# Title\n\n- a fact\n\n## Speeds\n\n| name |")
    assert "\n- a remark\n" in page and "````\n```\ncode\n```\n````" in page


def test_a_table_shows_its_cells_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_sheets([Sheet("t", ("x",), (("[red]not a colour[/]",),))], before=["[b]before"], after=["after"])
    out = capsys.readouterr().out
    assert "[red]not a colour[/]" in out and out.startswith("[b]before") and out.endswith("after\n")
    assert "\x1b" not in out  # no terminal, no colours


def test_json_has_no_number_that_is_not_finite() -> None:
    assert json.loads(as_json(DATA)) == {
        "rows": [{"name": "c", "speed": {"median": 2.0, "most": 3.0}, "tokens": [1, 2]}],
        "undefined": None,
    }


def test_csv_has_a_column_for_what_is_nested() -> None:
    [row] = csv.DictReader(io.StringIO(as_csv(DATA["rows"])))  # type: ignore[arg-type]
    assert row == {"name": "c", "speed.median": "2.0", "speed.most": "3.0", "tokens": "1; 2"}


@pytest.mark.parametrize(
    ("form", "part"), [("table", "Speeds"), ("md", "- a line"), ("json", '"median"'), ("csv", "c,2.0")]
)
def test_every_form_is_printed(form: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(form, [SHEET], ["a line"], DATA)
    assert part in capsys.readouterr().out
