"""The text of a document of whatever encoding, as far as it can be known: never a reason to refuse it.

What its first bytes show counts first (byte order marks, the zeros of UTF-16), then what the document declares, then
UTF-8. What is in none of them is in western Europe's (windows-1252), byte by byte: names may suffer, numbers do not.
"""

import codecs
import re
from collections.abc import Iterator

from hrmodel.workouts.formats.source import Source

CHUNK_BYTES = 1 << 16
DECLARED = re.compile(rb"<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']\s*([\w.:-]{1,40})\s*[\"']")
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
)
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffe\uffff]+")  # XML forbids it, or it means nothing
UNDECODED = re.compile("[\udc80-\udcff]+")
PROBE = "<a b='1.5'>&amp;-2</a>"
NOT_OF_FILES = ("unicode_escape", "raw_unicode_escape", "utf-7")  # codecs that give a backslash or a + a meaning


def texts(source: Source) -> Iterator[str]:
    """The document piece by piece, without control characters."""
    decoder: codecs.IncrementalDecoder | None = None
    for chunk in source.chunks(CHUNK_BYTES):
        if decoder is None:
            encoding = encoding_of(chunk)
            errors = "replace" if encoding.startswith("utf-16") or encoding.startswith("utf-32") else "surrogateescape"
            decoder = codecs.getincrementaldecoder(encoding)(errors)
        yield _clean(decoder.decode(chunk))
    if decoder is not None:
        yield _clean(decoder.decode(b"", True))


def encoding_of(head: bytes) -> str:
    """The name of the encoding of a document with these first bytes."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    beginning = head[:64].removeprefix(codecs.BOM_UTF16_LE).removeprefix(codecs.BOM_UTF16_BE)
    for zero, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(beginning) > 8 and not any(beginning[zero:8:2]):
            return encoding
    declared = DECLARED.search(head[:2000])
    return _known(declared[1].decode("ascii")) if declared else "utf-8"


def _known(declared: str) -> str:
    """The declared encoding, if there is such a one and bytes that are ASCII mean ASCII in it."""
    try:
        found = codecs.lookup(declared)
        read = codecs.getincrementaldecoder(found.name)("surrogateescape").decode(PROBE.encode("ascii"), True)
        codecs.getincrementaldecoder(found.name)("surrogateescape").decode(bytes(range(256)), True)
    except Exception:  # codecs of no text, and those that know no such handling of errors, raise all kinds
        return "utf-8"
    return found.name if read == PROBE and found.name not in NOT_OF_FILES else "utf-8"


def _clean(text: str) -> str:
    if not text.isascii() and UNDECODED.search(text):
        text = UNDECODED.sub(_western, text)
    return NO_TEXT.sub("", text)


def _western(escaped: re.Match[str]) -> str:
    return bytes(ord(one) - 0xDC00 for one in escaped[0]).decode("windows-1252", "replace")
