"""Kinds of files that are known and not read: each is refused by its name, with what to do instead."""

from hrmodel.workouts.errors import InvalidFile

REPACK = "unpack it and upload the files, or a zip of them"
PACKED: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"BZh", "a bzip2 file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard (zst) file"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    (b"\x1f\x9d", "a file packed with compress (.Z)"),
    (b"MSCF", "a cabinet (cab) archive"),
    (b"xar!", "a xar archive"),
    (b"PK\x07\x08", "one part of a zip file in several parts"),
    (b"!<arch>", "an ar archive"),
    (b"LZIP", "an lzip file"),
)
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF; export the recorded activity itself"),
    (b"SQLite format 3\0", "a database of an app; export the activities in it as FIT, GPX or TCX"),
    (b"<kml", "KML, which has no heart rate; export GPX, TCX or FIT"),
    (b"<!DOCTYPE html", "a web page and not the file that it shows; sign in there and download the file itself"),
    (b"<html", "a web page and not the file that it shows; sign in there and download the file itself"),
)


def packed(head: bytes) -> InvalidFile | None:
    """What to say of an archive of a kind that is not opened, by its first bytes; None for everything else."""
    for magic, kind in PACKED:
        if head.startswith(magic):
            return InvalidFile("unread_archive", "", f"it is {kind}, which is not opened; {REPACK}")
    return None


def described(head: bytes) -> str:
    """What else it is, where that is known; empty otherwise."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, kind in OTHERS:
        place = text[:1000].lower().find(magic.lower())
        if place == 0 or (place > 0 and magic.startswith(b"<") and text.startswith(b"<")):
            return f"it is {kind}"
    return ""
