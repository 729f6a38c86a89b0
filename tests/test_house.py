"""Rules of the house that no linter knows: names, privacy, citations."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.test_imports import FILES, ROOT

TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CITATION = re.compile(r"design section|issue #?\d+|section \d+ of the design", re.IGNORECASE)
FILE_NAME = re.compile(r"\b(?:docs/[\w./-]+|[A-Z]{4,})\.(?:md|yml)\b")
NAMED_TUPLE = {"_fields", "_replace", "_asdict"}  # public in spite of their names


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLE


def private_names() -> set[str]:
    """Private functions, classes, attributes and variables that the source defines."""
    names: set[str] = set()
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return {name for name in names if is_private(name)}


def private_uses(path: Path) -> set[str]:
    """Private names that a file takes from others: `from a import _b`, `a._b`, `setattr(a, "_b", ...)`."""
    used: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            used.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            used |= {text.rpartition(".")[2] for text in texts if isinstance(text, str)}
    return {name for name in used if is_private(name)}


def test_every_class_has_a_name_of_its_own():
    places = defaultdict(list)
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_tests_use_nothing_private():
    private = private_names()
    used = {str(path.relative_to(ROOT)): private_uses(path) & private for path in TESTS}
    assert {path: names for path, names in used.items() if names} == {}


def test_no_text_cites_a_document_that_is_not_here():
    texts = {path: path.read_text(encoding="utf-8") for path in [*FILES, *TESTS, *PAGES] if path != Path(__file__)}
    cited = {str(path.relative_to(ROOT)): CITATION.findall(text) for path, text in texts.items()}
    assert {path: words for path, words in cited.items() if words} == {}
    named = {(str(path.relative_to(ROOT)), name) for path, text in texts.items() for name in FILE_NAME.findall(text)}
    assert {(path, name) for path, name in named if not (ROOT / name).exists()} == set()
