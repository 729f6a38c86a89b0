"""By which first bytes each format is known; the readers themselves are loaded when a file needs one."""

import re

COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
BLANKS = b" \t\r\n\xef\xbb\xbf\xfe\xff"  # and byte order marks
ELEMENT = re.compile(rb"<(?:[\w.-]+:)?([\w.-]+)[\s/>]")
LATER_ROOT = rb"<(?:[\w.-]+:)?%b\s[^<>]*?\b(?:xmlns|version|creator)\b"
DOCTYPE = re.compile(rb"<!DOCTYPE\s+HealthData[\s\[>]")
LISTS = rb"(?:timestamp|(?:tar_)?heart_rate|(?:tar_)?(?:derived_)?speed|altitude|latitude|longitude|distance|since_\w+)"
LIST_KEY = rb"u?(['\"])" + LISTS + rb"\1\s*:\s*\[\s*(?:[-\d]|None|null|nan|NaN)"
FIRST_IS_LIST = re.compile(rb"\{\s*" + LIST_KEY)
FIRST_IS_FACT = re.compile(rb"\{\s*u?(['\"])(?:gender|url|userId|sport|id|time_elapsed)\1\s*:")
ANY_LIST = re.compile(LIST_KEY)


def is_parquet(head: bytes) -> bool:
    """True for a Parquet file."""
    return head.startswith(b"PAR1")


def is_torch(head: bytes) -> bool:
    """True for PyTorch's zip layout, whose first entry is `<name>/data.pkl`."""
    name_length = int.from_bytes(head[26:28], "little")
    return head.startswith(b"PK\x03\x04") and head[30 : 30 + name_length].endswith(b"/data.pkl")


def is_apple_health(head: bytes) -> bool:
    """True for the export.xml of Apple Health; its document type may fill all of the first bytes."""
    return _is_markup(head) and (DOCTYPE.search(head) is not None or _root_is("HealthData", head))


def is_fit(head: bytes) -> bool:
    """True for a FIT file."""
    return head[8:12] == b".FIT"


def is_gpx(head: bytes) -> bool:
    """True for a GPX document."""
    return _root_is("gpx", head)


def is_tcx(head: bytes) -> bool:
    """True for a TCX document."""
    return _root_is("TrainingCenterDatabase", head)


def is_endomondo(head: bytes) -> bool:
    """True for a line of workout data: keys come in any order, and one list may fill them all."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if FIRST_IS_LIST.match(text):
        return True
    return FIRST_IS_FACT.match(text) is not None and ANY_LIST.search(text) is not None


def _is_markup(head: bytes) -> bool:
    """True when the first visible byte is a `<`: an archive may hold a document just as it is."""
    return head.replace(b"\0", b"").lstrip(BLANKS).startswith(b"<")  # UTF-16 has a zero in every other byte


def _root_is(name: str, head: bytes) -> bool:
    """True when the first element of an XML document has this local name, by the document's first bytes.

    Before it may be what a web server has printed, if the element is then surely meant as one.
    """
    text = COMMENT.sub(b"", head.replace(b"\0", b""))
    if _is_markup(head) and (first := ELEMENT.search(text)) is not None and first[1] == name.encode():
        return True
    archive = b"\0" in head  # which may hold the document just as it is
    return not archive and re.search(LATER_ROOT % re.escape(name.encode()), text) is not None
