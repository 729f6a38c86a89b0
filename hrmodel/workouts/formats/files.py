"""The readable files of an upload: the file itself, a folder, and what zip, tar and gzip files hold, at some depth."""

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import archive, foreign
from hrmodel.workouts.formats.activity_lists import MAX_BYTES, listed_sports
from hrmodel.workouts.formats.archive import Archive, Member
from hrmodel.workouts.formats.catalog import FORMATS, HEAD_BYTES, Format, detect, head_of, unknown_format
from hrmodel.workouts.formats.companions import read_by_others
from hrmodel.workouts.formats.scratch import temporary_file
from hrmodel.workouts.formats.source import Beside, SaidSport, Source, nothing_beside
from hrmodel.workouts.formats.tars import TarArchive, is_tar
from hrmodel.workouts.formats.zips import ZipArchive, is_zip
from hrmodel.workouts.units import Units

MAX_DEPTH = 5  # exports of Garmin hold zips, those of Strava gzip files, and people pack both once more
KNOWN_ENDINGS = tuple(ending for format_ in FORMATS for ending in format_.extensions if ending not in (".xml", ".json"))
# what a Takeout is full of: not worth unpacking its first bytes
PLAINLY_OTHERS = (
    *(".jpg", ".jpeg", ".png", ".gif", ".heic", ".heif", ".webp", ".bmp", ".tif", ".tiff", ".svg", ".dng"),
    *(".mp4", ".mov", ".m4v", ".avi", ".3gp", ".webm", ".mp3", ".m4a", ".wav", ".pdf", ".html", ".htm", ".css"),
)


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """One file: `format` is None for one that we do not know.

    `problem` says why it cannot be read, or with a `source` what is wrong with it all the same: it was cut.
    """

    label: str
    format: Format | None = None
    source: Source | None = None
    problem: InvalidFile | None = None
    whole: bool = False  # it is the upload, not a part of it

    @property
    def looks_foreign(self) -> bool:
        """True for a part of an upload that nobody would take for a workout: neither its content nor its name."""
        unknown = self.problem is not None and self.problem.code == "unknown_format"
        return unknown and not self.whole and not self.label.lower().removesuffix(".gz").endswith(KNOWN_ENDINGS)


@dataclass
class Progress:
    """How much of the upload has been read, told as a fraction."""

    total: int
    tell: Callable[[float], None]
    done: float = 0.0

    def reach(self, done: float) -> None:
        """So many bytes of the upload are done."""
        self.done = max(self.done, min(done, self.total))
        self.tell(self.done / self.total if self.total else 1.0)


@dataclass(kw_only=True)
class Opener:
    """Finds the files of one upload, each unpacked for as long as the caller looks at it."""

    units: Units | None
    sport: SaidSport | None = None  # of files that name none
    progress: Progress
    budget: archive.Budget

    def files(self, path: Path, name: str) -> Iterator[UploadedFile]:
        """Those of the file or folder at `path`, which is called `name`."""
        if path.is_dir():
            yield from self._in_folder(path)
        else:
            yield from self._at(_Place(path=path, label=name, name=name, whole=True))

    def _in_folder(self, folder: Path) -> Iterator[UploadedFile]:
        names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
        names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
        taken = read_by_others(names, lambda name: head_of(folder / name))
        sports = listed_sports(names, lambda name: _head_on_disk(folder / name, MAX_BYTES))
        for name in names:
            if name not in taken:
                file, sport = folder / name, sports.get(name, "")
                beside = _beside_on_disk(file)
                yield from self._at(_Place(path=file, label=name, name=file.name, listed_sport=sport, beside=beside))

    def _at(self, place: "_Place") -> Iterator[UploadedFile]:
        head = head_of(place.path)
        format_ = detect(head)
        if format_ is not None:
            try:
                self.budget.spend_file()
            except InvalidFile as error:
                yield place.problem(error)
                return
            yield place.found(format_, self._source(place))
        elif not _is_opened(head):
            yield place.problem(foreign.packed(head) or unknown_format(head))
        elif place.depth >= MAX_DEPTH:
            yield place.problem(_too_deep())
        elif archive.is_gzip(head):
            yield from self._in_gzip(place)
        else:
            yield from self._in_archive(place, ZipArchive if is_zip(head) else TarArchive)

    def _source(self, place: "_Place") -> Source:
        def advanced(size: float) -> None:
            self.progress.reach(self.progress.done + size * place.weight)

        return Source(
            path=place.path,
            name=place.name,
            units=self.units,
            said_sport=self.sport,
            listed_sport=place.listed_sport,
            beside=place.beside,
            advanced=advanced,
        )

    def _in_archive(
        self, place: "_Place", kind: Callable[[Path, archive.Budget], ZipArchive | TarArchive]
    ) -> Iterator[UploadedFile]:
        try:
            opened = kind(place.path, self.budget)
        except InvalidFile as error:
            yield place.problem(error)
            return
        try:
            members = opened.members
            if not members:
                yield place.problem(opened.damage or InvalidFile("empty_zip", "", "the archive holds no files"))
                return
            taken = read_by_others(list(members), lambda name: _member_head(opened, members[name]))
            sports = listed_sports(members, lambda name: _member_head(opened, members[name], MAX_BYTES))
            for name, member in members.items():
                if name not in taken:
                    start = self.progress.done
                    yield from self._member(place, opened, member, sports.get(name, ""))
                    self.progress.reach(start + member.packed * place.weight)
            if opened.damage:
                yield UploadedFile(label=place.label, problem=opened.damage)
        finally:
            opened.close()

    def _member(self, place: "_Place", opened: Archive, member: Member, sport: str) -> Iterator[UploadedFile]:
        inside = place.inside(member.label)
        try:
            self.budget.spend(0)  # nothing is worth a look once it is spent
            if member.name.lower().endswith(PLAINLY_OTHERS):
                raise unknown_format()
            head = opened.head(member, HEAD_BYTES)
            if detect(head) is None and not _is_opened(head):
                raise foreign.packed(head) or unknown_format(head)
            if detect(head) is None and place.depth + 1 >= MAX_DEPTH:
                raise _too_deep()
            if detect(head) is None and place.depth >= 1:
                self.budget.spend_archive()
            with temporary_file() as target:
                damage = opened.unpack(member, target, self.budget)
                yield from self._at(
                    _Place(
                        path=target,
                        label=inside,
                        name=member.name,
                        listed_sport=sport,
                        beside=self._beside_in(opened, member),
                        weight=place.weight * member.packed / member.size,
                        depth=place.depth + 1,
                        damage=damage,
                    )
                )
        except InvalidFile as error:
            yield UploadedFile(label=inside, problem=error)

    def _in_gzip(self, place: "_Place") -> Iterator[UploadedFile]:
        with temporary_file() as target:
            try:
                damage = archive.gunzip(place.path, target, self.budget)
            except InvalidFile as error:
                yield place.problem(error)
                return
            size = target.stat().st_size
            yield from self._at(
                _Place(
                    path=target,
                    label=place.label,
                    name=place.name.removesuffix(".gz"),
                    whole=place.whole,
                    listed_sport=place.listed_sport,
                    beside=place.beside,
                    weight=place.weight * place.path.stat().st_size / max(size, 1),
                    depth=place.depth + 1,
                    damage=place.damage or damage,
                )
            )

    def _beside_in(self, opened: Archive, member: Member) -> Beside:
        @contextmanager
        def beside(name: str) -> Iterator[Source | None]:
            other = opened.sibling(member, name)
            if other is None:
                yield None
                return
            with temporary_file() as target:
                opened.unpack(other, target, self.budget)
                yield Source(path=target, name=PurePosixPath(name).name, units=self.units)

        return beside


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a file lies by now, and what it is called. `damage`: what unpacking it has ended with."""

    path: Path
    label: str  # for people: with the archives that it is in
    name: str
    whole: bool = False
    listed_sport: str = ""  # the word for it in the export's list of activities
    beside: Beside = nothing_beside
    weight: float = 1.0  # bytes of the upload for each byte of this file
    depth: int = 0
    damage: InvalidFile | None = None

    def inside(self, member: str) -> str:
        return member if self.whole else f"{self.label}/{member}"

    def found(self, format_: Format, source: Source) -> UploadedFile:
        return UploadedFile(label=self.label, format=format_, source=source, problem=self.damage, whole=self.whole)

    def problem(self, error: InvalidFile) -> UploadedFile:
        return UploadedFile(label=self.label, problem=self.damage or error, whole=self.whole)


def _is_opened(head: bytes) -> bool:
    return is_zip(head) or archive.is_gzip(head) or is_tar(head)


def _too_deep() -> InvalidFile:
    hint = f"it is packed more than {MAX_DEPTH} times, one archive in the other; unpack the outer ones and upload this"
    return InvalidFile("too_deep", "", hint)


def _head_on_disk(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _member_head(opened: Archive, member: Member, size: int = HEAD_BYTES) -> bytes:
    try:
        return opened.head(member, size)
    except InvalidFile:
        return b""


def _beside_on_disk(file: Path) -> Beside:
    def beside(name: str) -> AbstractContextManager[Source | None]:
        other = file.parent / name
        if not other.is_file():  # names may differ in case or Unicode form: macOS decomposes them
            folder, base = PurePosixPath(name).parent.name.lower(), PurePosixPath(name).name
            bases = {base, unicodedata.normalize("NFD", base)}
            alike = [one / base for one in file.parent.iterdir() if one.name.lower() == folder for base in bases]
            other = next((one for one in alike if one.is_file()), other)
        return nullcontext(Source(path=other, name=other.name) if other.is_file() else None)

    return beside
