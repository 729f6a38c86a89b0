"""XML that is not well-formed, read as far as it goes: the second try, after the strict parser has stopped.

Each tag is taken by itself. What is no tag is text; one whose end is missing ends where the next begins; an end tag
closes what was left open inside. So a broken tag costs at most the value or the point that it is in, a file that was
cut keeps what was complete, and what stands before or behind the document is passed over. No entities but those of HTML
are known and nothing is opened. (libxml2's recovering parser was tried: it stops at `a < b`, and closes the track where
a point's tag is broken.)
"""

import html
import re
from collections.abc import Iterator

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.document_text import texts
from hrmodel.workouts.formats.markup import MAX_DEPTH, MAX_TAG_BYTES, ElementReader, handlers
from hrmodel.workouts.formats.source import Source

# possessive: linear in what it reads; `whole` is empty where the end of a tag is missing
TOKEN = re.compile(
    r"<(?:(?P<block>!--|!\[CDATA\[)|\?[^<>]*+>|(?P<doctype>!DOCTYPE)|(?P<end>/?)(?:[\w.-]++:)?(?P<name>[^\W\d][\w.-]*+)"
    r"(?P<rest>(?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+'|[\"'])*+)(?P<whole>>?))"
)
ATTRIBUTE = re.compile(r"([\w.:-]++)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'=/]++))")
BLOCKS = {"!--": "-->", "![CDATA[": "]]>"}
MAX_TEXT = 2000  # characters of one element's text that are kept


def recover(source: Source, reader: ElementReader, damage: InvalidFile) -> Iterator[None]:
    """Hand over what a damaged file holds; stops after each piece, as `feed` does.

    Raises InvalidFile at the end when something is lost that is read, and `damage`, what stopped the strict parser,
    when the document cannot be found at all.
    """
    soup = _Soup(reader)
    rest = ""
    for text in texts(source):
        rest += text
        end = len(rest) if len(rest) > MAX_TAG_BYTES else _complete(rest)
        soup.take(rest[:end])
        rest = rest[end:]
        yield
    soup.take(rest, last=True)
    problem = soup.finish(damage)
    yield
    if problem:
        raise problem


def _complete(text: str) -> int:
    """How far a text can be read before what follows it is known."""
    end = text.rfind("<")
    for begins, ends in BLOCKS.items():
        begin = text.rfind("<" + begins)
        if begin >= 0 and text.find(ends, begin) < 0:
            end = min(end, begin)
    return end if end >= 0 else len(text)


class _Soup:
    """Tells a reader of the elements in pieces of text."""

    def __init__(self, reader: ElementReader) -> None:
        self._reader = reader
        self._path = reader.path
        self._begin, self._close = handlers(reader)
        self._line = 1
        self._found = False  # the root
        self._kept = 0  # characters of text since the last tag
        self._leaf = False  # the last tag began an element
        self._lost = 0  # places where a point has lost something
        self._first = 0  # line of the first of them

    def take(self, text: str, *, last: bool = False) -> None:
        """Read a piece that ends before a tag, or with the file. Raises InvalidFile."""
        place, endless = 0, set[str]()
        while token := TOKEN.search(text, place):
            begin, end = token.span()
            self._text(text[place:begin])
            self._line += text.count("\n", place, begin)
            block = token["block"]
            if block and (ended := -1 if block in endless else text.find(BLOCKS[block], end)) < 0:
                endless.add(block)
                self._text(token[0])
            elif block:
                if block != "!--":
                    self._text(text[end:ended], raw=True)
                end = ended + len(BLOCKS[block])
            elif token["name"] is not None:
                if token["whole"] or end < len(text) or not last:  # else the file was cut in it
                    self._tag(token)
            elif token["doctype"] and not self._found:
                self._reader.doctype()
            self._line += text.count("\n", begin, end)
            place = end
        self._text(text[place:])
        self._line += text.count("\n", place)

    def finish(self, damage: InvalidFile) -> InvalidFile | None:
        """The end of the file: what to say of it, if anything is lost."""
        if not self._found:
            return damage
        cut = bool(self._path)
        if cut:
            self._reader.values = None  # what is left open was not complete
        self._pop(0)
        self._reader.finished()
        where = f"line {self._first or self._line}"
        more = f" and at {self._lost - 1} more places" if self._lost > 1 else ""
        around = f"the XML is damaged here{more}; what is around it is read"
        early = "the file ends too early, too" if self._lost else "the file ends too early"
        ending = f"{early}: it is damaged or cut off; what comes before is read"
        said = [around] * bool(self._lost) + [ending] * cut
        return InvalidFile("broken_xml", where, "; ".join(said)) if said else None

    def _text(self, text: str, *, raw: bool = False) -> None:
        if "<" in text and not raw and self._reader.values is not None:
            self._lose()
            text = text.replace("<", "")
        if text and self._kept < MAX_TEXT:
            self._kept += len(text)
            text = text[:MAX_TEXT]
            self._reader.pieces.append(html.unescape(text) if "&" in text and not raw else text)

    def _tag(self, tag: re.Match[str]) -> None:
        name, whole = tag["name"], bool(tag["whole"])
        if tag["end"]:
            self._end_tag(name, whole=whole)
        elif name == self._reader.root:
            self._pop(0)  # a second document in the same file
            self._found = True
            self._start_tag(tag)
        elif self._path and len(self._path) < MAX_DEPTH:
            if name in self._reader.parents and name in self._path:
                self._lose()
                self._pop(self._path.index(name))
            if not whole:
                self._lose(certainly=name in self._reader.parents)
            self._start_tag(tag)

    def _start_tag(self, tag: re.Match[str]) -> None:
        pairs = ATTRIBUTE.findall(tag["rest"]) if tag["name"] in self._reader.parents else ()
        self._begin(tag["name"], {key: html.unescape(a or b or c) for key, a, b, c in pairs})
        self._kept, self._leaf = 0, True
        if tag["rest"].endswith("/"):
            self._close(tag["name"])
            self._leaf = False

    def _end_tag(self, name: str, *, whole: bool) -> None:
        if not whole:
            self._lose()
            if self._path and self._path[-1].startswith(name):
                name = self._path[-1]
        if name in self._path:
            place = len(self._path) - 1 - self._path[::-1].index(name)
            if place < len(self._path) - 1:
                self._lose()
                self._pop(place + 1)
            self._close(name)
        else:
            self._lose(certainly=name in self._reader.parents)
            if self._leaf and any(piece.strip() for piece in self._reader.pieces):
                self._close(name)  # the end of this element, misspelt
        self._kept, self._leaf = 0, False

    def _pop(self, depth: int) -> None:
        """Close what is left open deeper than that; of what it holds only complete elements count."""
        while len(self._path) > depth:
            self._reader.pieces.clear()
            self._close("")

    def _lose(self, *, certainly: bool = False) -> None:
        """A point has lost something, if one is open."""
        if certainly or self._reader.values is not None:
            self._lost += 1
            self._first = self._first or self._line
