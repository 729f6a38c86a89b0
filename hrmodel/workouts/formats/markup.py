"""XML of unknown origin, read safely as a stream of elements known by their local names.

No tree is built; a document type (and with it every entity and attribute default) is refused before what it declares
is read; nesting, texts, single tags and the number of names are bounded; nothing outside the file is opened.
Expat reads what is well-formed; what is not is read once more by `tag_soup`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar
from xml.parsers import expat

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.scalars import number
from hrmodel.workouts.formats.source import Source

CHUNK_BYTES = 1 << 16
MAX_DEPTH = 100
MAX_PIECES = 100  # of text, kept from one chunk to the next; expat hands over long texts in pieces of 8 KB
MAX_TAG_BYTES = 1 << 20  # or of a comment; expat keeps an unfinished one and begins again with each chunk
MAX_NAMES = 10_000  # of elements and attributes; expat keeps each for good


class ElementReader(ABC):
    """What expat calls while it reads a document. A format names its elements and says what each means.

    `opened` is called for `parents`, `closed` for `parents` and, with their text, for `texts`; `path` then holds the
    local names of the open elements, without the closed one. The first number of each of `numbers` goes into `values`
    under its key, while that is a dictionary. Everything else is passed over.
    """

    format: ClassVar[str]
    root: ClassVar[str]
    parents: ClassVar[frozenset[str]]
    texts: ClassVar[frozenset[str]]
    numbers: ClassVar[Mapping[str, str]]

    def __init__(self) -> None:
        self.path: list[str] = []
        self.pieces: list[str] = []  # of text, since the last element began
        self.values: dict[str, float] | None = None

    @abstractmethod
    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element of `parents` begins."""

    @abstractmethod
    def closed(self, name: str, text: str) -> None:
        """An element of `parents` or `texts` ends; `text` has no blanks around it."""

    def finished(self) -> None:  # noqa: B027 - most readers have nothing to do
        """The document has ended, wherever that is."""

    def doctype(self, *_declared: object) -> None:
        """Refuse it before what it declares is read."""
        hint = f"the XML declares a document type, which {self.format} files do not need; take <!DOCTYPE ...> out of it"
        raise InvalidFile("dtd_refused", "", hint)

    def check_place(self, name: str) -> None:
        """Refuse a root of another format, and an element that is nested too deep."""
        code = f"not_{self.format.lower()}"
        if self.path:
            raise InvalidFile(code, "", f"elements are nested more than {MAX_DEPTH} deep")
        if name != self.root:
            raise InvalidFile(code, "", f"the root element is {name[:50]}, not {self.root}")


def feed(source: Source, reader: ElementReader) -> Iterator[None]:
    """Hand the file to the reader; stops after each piece, for the caller to take what is complete.

    Raises InvalidFile.
    """
    names: dict[str, str] = {}
    parser = _parser(reader, names)
    fed = 0
    for chunk in source.chunks(CHUNK_BYTES):
        # known exporters put blanks before the XML declaration, which XML forbids
        chunk = chunk if fed else chunk.lstrip()
        if chunk:
            _parse(parser, chunk)
            fed += len(chunk)
            del reader.pieces[MAX_PIECES:]
            _check_bounds(parser, fed, names)
        yield
    _parse(parser, b"", last=True)
    reader.finished()
    yield


def _parser(reader: ElementReader, names: dict[str, str]) -> expat.XMLParserType:
    """Tells the reader of elements and texts; `names` fills with those of elements and attributes."""
    parser = expat.ParserCreate(intern=names)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler, parser.EndElementHandler = handlers(reader)
    parser.CharacterDataHandler = reader.pieces.append
    return parser


def handlers(reader: ElementReader) -> tuple[Callable[[str, dict[str, str]], None], Callable[[str], None]]:
    """What to call when an element starts (with its tag and attributes) and ends: closures, which are the fastest."""
    path, pieces, parents, numbers = reader.path, reader.pieces, reader.parents, reader.numbers
    told = reader.parents | reader.texts
    local_names = _LocalNames()

    def start(tag: str, attributes: dict[str, str]) -> None:
        name = local_names[tag]
        if not 0 < len(path) < MAX_DEPTH:
            reader.check_place(name)
        path.append(name)
        pieces.clear()
        if name in parents:
            reader.opened(name, attributes)

    def end(_tag: str) -> None:
        name = path.pop()
        if name in numbers:
            if reader.values is not None:
                reader.values.setdefault(numbers[name], number("".join(pieces)))
        elif name in told:
            reader.closed(name, "".join(pieces).strip())

    return start, end


class _LocalNames(dict[str, str]):
    """`prefix:name` or `name` -> `name`."""

    def __missing__(self, tag: str) -> str:
        name = self[tag] = tag[tag.rfind(":") + 1 :]
        return name


def _parse(parser: expat.XMLParserType, chunk: bytes, *, last: bool = False) -> None:
    try:
        parser.Parse(chunk, last)
    except InvalidFile:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: of declared encodings
        hint = f"the XML is damaged: {str(error)[:200]}"
        raise InvalidFile("broken_xml", f"line {parser.CurrentLineNumber}", hint) from error


def _check_bounds(parser: expat.XMLParserType, fed: int, names: dict[str, str]) -> None:
    if fed - parser.CurrentByteIndex > MAX_TAG_BYTES:
        problem = f"a tag of more than {MAX_TAG_BYTES} bytes"
    elif len(names) > MAX_NAMES:
        problem = f"more than {MAX_NAMES} different names"
    else:
        return
    raise InvalidFile("broken_xml", f"line {parser.CurrentLineNumber}", f"the XML is damaged: {problem}")
