"""The elements of an Apple Health export: expat on a byte stream without its document type.

Real exports declare one (that of iOS 16 is malformed), so it can neither be refused nor parsed: it is cut out unread.
Then no entity is defined and no attribute has a default. Control characters, which iOS writes and XML forbids, are cut
out too. Nesting, names and the size of one tag are bounded; nothing outside the file is opened.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from xml.parsers import expat

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.source import Source

CHUNK_BYTES = 1 << 18
MAX_PROLOG = 1 << 20  # bytes before the first element; real ones have 10,000
MAX_TAG = 1 << 20  # bytes; real ones have 1,000
MAX_DEPTH = 100
MAX_NAMES = 2_000  # different names of elements and attributes, which expat keeps; real exports have 100
CONTROL = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20)])
# possessive: linear in what it reads, whatever that is
MISC = rb"\s++|<\?.*?\?>|<!--.*?-->"
QUOTED = rb'"[^"]*+"|\'[^\']*+\''
SUBSET = rb"\[(?:[^\]\"'<]++|%b|<\?.*?\?>|<!--.*?-->|<(?!\?|!--))*+\]\s*+" % QUOTED
DOCTYPE = rb"<!DOCTYPE(?:[^\[\"'>]++|%b)*+(?:%b)?+>" % (QUOTED, SUBSET)
PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?+(?:%b|%b)*+(?=<[^!?])" % (MISC, DOCTYPE), re.DOTALL)
ENCODING = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([^\"'>]*)[\"']")
CUT = tuple(map(expat.errors.codes.get, (expat.errors.XML_ERROR_NO_ELEMENTS, expat.errors.XML_ERROR_UNCLOSED_TOKEN)))
UTF_16 = (b"\xff\xfe", b"\xfe\xff")

Starts = Mapping[str, Callable[[dict[str, str]], None]]
Ends = Mapping[str, Callable[[], None]]


def feed(source: Source, root: str, starts: Starts, ends: Ends, shorten: Callable[[bytes], bytes]) -> None:
    """Call the function of each element's name: `starts` with its attributes, `ends` when it is complete.

    `shorten` sees the document first, in pieces that end before a tag, and may take whole elements out of it.
    Raises InvalidFile, after the calls for what comes before the damage.
    """
    parser = _parser(root, starts, ends)
    fed = 0
    try:
        for piece in _pieces(source):
            rest = shorten(piece)
            rest += b"\n" * (piece.count(b"\n") - rest.count(b"\n"))  # the parser counts lines
            parser.Parse(rest, False)
            fed += len(rest)
            if fed - parser.CurrentByteIndex > MAX_TAG:
                raise _too_long()
            if len(parser.intern) > MAX_NAMES:
                raise InvalidFile("not_apple_health", "", f"more than {MAX_NAMES} names of elements and attributes")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        if error.code in CUT:
            hint = "the file ends too early: it is damaged or cut off; what comes before is read"
            raise InvalidFile("cut_xml", f"near line {error.lineno}", hint) from error
        hint = f"the XML is damaged: {expat.ErrorString(error.code)}"
        raise InvalidFile("broken_xml", f"near line {error.lineno}", hint) from error


def _parser(root: str, starts: Starts, ends: Ends) -> expat.XMLParserType:
    depth = 0

    def begun(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if name in starts:
            starts[name](attributes)
        if depth == 1 and name != root:
            raise InvalidFile("not_apple_health", "", f"the root element is {name[:50]}, not {root}")
        if depth > MAX_DEPTH:
            raise InvalidFile("not_apple_health", "", f"elements are nested more than {MAX_DEPTH} deep")

    def ended(name: str) -> None:
        nonlocal depth
        depth -= 1
        if name in ends:
            ends[name]()

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = begun
    parser.EndElementHandler = ended
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _refuse_doctype(*_declared: object) -> None:
    raise InvalidFile("dtd_refused", "", "the XML declares a document type that could not be cut out")


def _too_long() -> InvalidFile:
    return InvalidFile("too_large", "", f"a tag of more than {MAX_TAG} bytes")


def _pieces(source: Source) -> Iterator[bytes]:
    """The bytes from the first element on, in pieces that end before a `<`."""
    left = b""
    for chunk in _document(source):
        left += chunk.translate(None, CONTROL)
        if (end := left.rfind(b"<")) > 0:
            yield left[:end]
            left = left[end:]
        if len(left) > MAX_TAG:
            raise _too_long()
    yield left


def _document(source: Source) -> Iterator[bytes]:
    """The bytes from the first element on; before them the line breaks of what was cut out, which keep line numbers."""
    head = b""
    chunks = source.chunks(CHUNK_BYTES)
    for chunk in chunks:
        head += chunk
        _check_encoding(head)
        body = head.lstrip()
        if prolog := PROLOG.match(body):
            yield b"\n" * body.count(b"\n", 0, prolog.end()) + body[prolog.end() :]
            yield from chunks
            return
        if len(head) > MAX_PROLOG:
            raise InvalidFile("broken_xml", "", f"no element begins within the first {MAX_PROLOG} bytes")
    raise InvalidFile("broken_xml", "", "the file ends before its first element; export it again")


def _check_encoding(head: bytes) -> None:
    declared = ENCODING.match(head[:1000])
    name = declared[1].decode("ascii", "replace").lower() if declared else "utf-8"
    if head.startswith(UTF_16) or b"\0" in head[:64]:  # a control character may be anywhere but there
        name = "utf-16"
    if name not in ("utf-8", "us-ascii"):
        raise InvalidFile("bad_encoding", "", f"the XML is in {name[:40]}; Apple Health writes UTF-8")
