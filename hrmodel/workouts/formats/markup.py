"""XML of unknown origin, read safely as a stream of elements known by their local names.

No tree is built; a document type (and with it every entity and attribute default) is refused at its first byte;
nesting and texts are bounded here, names and single values by libxml2; nothing outside the file is opened.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from lxml import etree

from hrmodel.workouts.errors import InvalidFile

CHUNK_BYTES = 1 << 16
MAX_DEPTH = 100
MAX_TEXT = 40  # characters of a value; longer ones are no numbers or times
MAX_PIECES = 40  # of the text of one element; lxml hands over long ones in pieces
MAX_PIECE = 1000  # characters: the blanks around a value may be many
COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
ELEMENT = re.compile(rb"<(?:[\w.-]+:)?([\w.-]+)[\s/>]")


def root_is(name: str, head: bytes) -> bool:
    """True when the first element of an XML document has this local name, by the document's first bytes."""
    text = COMMENT.sub(b"", head.replace(b"\0", b""))  # UTF-16 has a zero in every other byte
    first = ELEMENT.search(text)
    return first is not None and first[1] == name.encode()


class ElementReader(ABC):
    """What lxml calls while it reads a document. A format names its elements and says what each means.

    `opened` is called for `parents`, `closed` for `parents` and, with their text, for `texts`; `path` then holds the
    local names of the open elements, without the closed one. Everything else is passed over.
    """

    format: ClassVar[str]
    root: ClassVar[str]
    parents: ClassVar[frozenset[str]]
    texts: ClassVar[frozenset[str]]

    def __init__(self) -> None:
        self.path: list[str] = []
        self._text: list[str] | None = None

    @abstractmethod
    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element of `parents` begins."""

    @abstractmethod
    def closed(self, name: str, text: str) -> None:
        """An element ends; `text` is empty for `parents`, else at most MAX_TEXT + 1 characters."""

    def doctype(self, _name: str, _public: str, _system: str) -> None:
        """Refuse it before what it declares is read."""
        hint = f"the XML declares a document type, which {self.format} files do not need"
        raise InvalidFile("dtd_refused", "", hint)

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins; `tag` is `{namespace}name`."""
        name = tag[tag.rfind("}") + 1 :]
        if not 0 < len(self.path) < MAX_DEPTH:
            self._check_place(name)
        self.path.append(name)
        self._text = [] if name in self.texts else None
        if name in self.parents:
            self.opened(name, attributes)

    def data(self, text: str) -> None:
        """A piece of text, of the element that began last if none has ended since."""
        if self._text is not None and len(self._text) < MAX_PIECES:
            self._text.append(text[:MAX_PIECE])

    def end(self, _tag: str) -> None:
        """The innermost open element ends."""
        name = self.path.pop()
        pieces, self._text = self._text, None
        if pieces is not None:
            self.closed(name, "".join(pieces).strip()[: MAX_TEXT + 1])
        elif name in self.parents:
            self.closed(name, "")

    def close(self) -> None:
        """The document ends; what was read has been handed over piece by piece."""
        return None

    def _check_place(self, name: str) -> None:
        code = f"not_{self.format.lower()}"
        if self.path:
            raise InvalidFile(code, "", f"elements are nested more than {MAX_DEPTH} deep")
        if name != self.root:
            raise InvalidFile(code, "", f"the root element is {name[:50]}, not {self.root}")


def feed(path: Path, reader: ElementReader) -> Iterator[None]:
    """Hand the file to the reader; stops after each piece, for the caller to take what is complete.

    Raises InvalidFile.
    """
    parser = etree.XMLParser(target=reader, resolve_entities=False, no_network=True, huge_tree=False)
    begun = False
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                # known exporters put blanks before the XML declaration, which XML forbids
                chunk = chunk if begun else chunk.lstrip()
                begun = begun or bool(chunk)
                if begun:
                    parser.feed(chunk)
                yield
            parser.close()
    except etree.XMLSyntaxError as error:
        raise InvalidFile(
            "broken_xml", f"line {error.lineno}", f"the XML is damaged: {(error.msg or str(error))[:200]}"
        ) from error


def number(text: str | None) -> float:
    """The finite number that a text is, else NaN."""
    try:
        value = float(text) if text and len(text) <= MAX_TEXT else math.nan
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def instant(text: str, where: str) -> float:
    """Unix seconds of an ISO 8601 time with any offset or fraction; without an offset it is UTC.

    Raises InvalidFile that tells `where`.
    """
    try:
        if len(text) > MAX_TEXT:  # fromisoformat takes any number of digits for a fraction
            raise ValueError(text)
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidFile("bad_time", where, f"{text[:40]!r} is no time; expected 2024-05-31T06:30:00Z") from error
