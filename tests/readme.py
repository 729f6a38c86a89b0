"""The README's parts, for the tests that hold it to its word."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def bash_blocks() -> list[str]:
    """The text of every ```bash block."""
    return [block.strip() for block in re.findall(r"^```bash\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)]


def python_block() -> str:
    """The example in Python."""
    [block] = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    return str(block)


def table_under(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without its head; backticks are left out."""
    section = re.split(r"^## ", README.read_text(), flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(f"{heading}\n"))
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in row] for row in rows[2:]]
