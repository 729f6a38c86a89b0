"""The parts of README and docs, for the tests that hold them to their word."""

import re
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
SETTINGS, ENDPOINTS = DOCS / "reference" / "settings.md", DOCS / "reference" / "endpoints.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md")))
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def shell_blocks(page: Path = README) -> list[str]:
    """The text of every ```bash and ```sh block."""
    fences = _FENCE.findall(page.read_text())
    return [dedent(block).strip() for language, block in fences if language in ("bash", "sh")]


def python_blocks(page: Path = README) -> list[str]:
    """The text of every ```python block."""
    return [dedent(block) for language, block in _FENCE.findall(page.read_text()) if language == "python"]


def table_under(heading: str, page: Path) -> list[list[str]]:
    """The rows of the first table below a heading of a page, without its head; backticks are left out."""
    section = re.split(r"^#+ ", page.read_text(), flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(f"{heading}\n"))
    lines = [line.strip() for line in text.splitlines()]
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return rows[2:]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())
