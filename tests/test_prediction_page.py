"""The page on predictions: its formula is the code's, and its numbers are those that its own program prints."""

import contextlib
import io
import re

from hrmodel.personal import correction
from tests.readme import DOCS, ROOT, python_blocks

PAGE = DOCS / "explanation" / "prediction.md"


def test_the_program_on_the_page_prints_what_the_page_shows(monkeypatch):
    monkeypatch.chdir(ROOT)
    (program,) = python_blocks(PAGE)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, str(PAGE), "exec"), {})
    assert printed.getvalue() == shown


def test_the_constants_in_the_text_are_those_of_the_code():
    text = PAGE.read_text()
    for sentence in (
        f"the rise fades with {correction.RISE_SECONDS:g} s from the start",
        f"the wander fades with {correction.WANDER_SECONDS:g} s from the last observed step",
        f"fades with {correction.SLOW_SECONDS:g} s from the last observed step: drift",
    ):
        assert sentence in text, sentence
