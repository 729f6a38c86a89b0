"""The readable files of an upload: the file itself, a folder, and what zip and gzip files hold, two levels deep."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import archive
from hrmodel.workouts.formats.activity_lists import MAX_BYTES, listed_sports
from hrmodel.workouts.formats.catalog import FORMATS, HEAD_BYTES, Format, detect, head_of, unknown_format
from hrmodel.workouts.formats.scratch import temporary_file
from hrmodel.workouts.formats.source import Beside, SaidSport, Source, nothing_beside
from hrmodel.workouts.units import Units

MAX_DEPTH = 3  # exports of Garmin hold zips, those of Strava gzip files


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """One file: `format` is None for one that we do not know; `problem` says why it cannot be read at all."""

    label: str
    format: Format | None = None
    source: Source | None = None
    problem: InvalidFile | None = None
    whole: bool = False  # it is the upload, not a part of it


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
        taken = _read_by_others(names, lambda name: head_of(folder / name))
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
            yield place.found(format_, self._source(place))
        elif archive.is_zip(head) and place.depth < MAX_DEPTH:
            yield from self._in_zip(place)
        elif archive.is_gzip(head) and place.depth < MAX_DEPTH:
            yield from self._in_gzip(place)
        else:
            yield place.problem(unknown_format())

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

    def _in_zip(self, place: "_Place") -> Iterator[UploadedFile]:
        try:
            zip_file = archive.open_archive(place.path, self.budget)
        except InvalidFile as error:
            yield place.problem(error)
            return
        with zip_file:
            members = {entry.filename: entry for entry in archive.entries(zip_file)}
            if not members:
                yield place.problem(InvalidFile("empty_zip", "", "the zip file holds no files"))
            taken = _read_by_others(list(members), lambda name: _member_head(zip_file, members[name]))
            sports = listed_sports(members, lambda name: _member_head(zip_file, members[name], MAX_BYTES))
            for name, entry in members.items():
                if name in taken:
                    continue
                start = self.progress.done
                yield from self._member(place, zip_file, entry, sports.get(name, ""))
                self.progress.reach(start + entry.compress_size * place.weight)

    def _member(self, place: "_Place", zip_file: ZipFile, entry: ZipInfo, sport: str) -> Iterator[UploadedFile]:
        inside = place.inside(archive.label(entry))
        try:
            head = archive.head(zip_file, entry, HEAD_BYTES)
            if not _is_readable(head, place.depth + 1):  # photos and the like are not worth unpacking
                raise unknown_format()
            with temporary_file() as target:
                archive.unpack(zip_file, entry, target, self.budget)
                yield from self._at(
                    _Place(
                        path=target,
                        label=inside,
                        name=PurePosixPath(entry.filename).name,
                        listed_sport=sport,
                        beside=self._beside_in_zip(zip_file, entry),
                        weight=place.weight * entry.compress_size / entry.file_size,
                        depth=place.depth + 1,
                    )
                )
        except InvalidFile as error:
            yield UploadedFile(label=inside, problem=error)

    def _in_gzip(self, place: "_Place") -> Iterator[UploadedFile]:
        with temporary_file() as target:
            try:
                archive.gunzip(place.path, target, self.budget)
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
                )
            )

    def _beside_in_zip(self, zip_file: ZipFile, entry: ZipInfo) -> Beside:
        @contextmanager
        def beside(name: str) -> Iterator[Source | None]:
            other = archive.sibling(zip_file, entry, name)
            if other is None:
                yield None
                return
            with temporary_file() as target:
                archive.unpack(zip_file, other, target, self.budget)
                yield Source(path=target, name=PurePosixPath(name).name, units=self.units)

        return beside


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a file lies by now, and what it is called."""

    path: Path
    label: str  # for people: with the zips that it is in
    name: str
    whole: bool = False
    listed_sport: str = ""  # the word for it in the export's list of activities
    beside: Beside = nothing_beside
    weight: float = 1.0  # bytes of the upload for each byte of this file
    depth: int = 0

    def inside(self, member: str) -> str:
        return member if self.whole else f"{self.label}/{member}"

    def found(self, format_: Format, source: Source) -> UploadedFile:
        return UploadedFile(label=self.label, format=format_, source=source, whole=self.whole)

    def problem(self, error: InvalidFile) -> UploadedFile:
        return UploadedFile(label=self.label, problem=error, whole=self.whole)


def _is_readable(head: bytes, depth: int) -> bool:
    return detect(head) is not None or (depth < MAX_DEPTH and (archive.is_zip(head) or archive.is_gzip(head)))


def _read_by_others(names: list[str], head: Callable[[str], bytes]) -> set[str]:
    """The names of files that another file's format reads together with its own."""
    files: dict[str, list[str]] = defaultdict(list)  # of a folder
    for name in names:
        files[str(PurePosixPath(name).parent)].append(name)

    @cache
    def in_folder(folder: str) -> set[str]:
        return {found.name for name in files.get(folder, ()) if (found := detect(head(name)))}

    patterns = [(pattern, format_.name) for format_ in FORMATS for pattern in format_.beside]
    return {
        name
        for name in names
        for pattern, format_name in patterns
        if (folder := _folder_of(name, pattern)) is not None and format_name in in_folder(folder)
    }


def _folder_of(name: str, pattern: str) -> str | None:
    """The folder from which `pattern` leads to `name`, if it does."""
    parts, depth = PurePosixPath(name).parts, pattern.count("/") + 1
    if len(parts) < depth or not fnmatch("/".join(parts[-depth:]), pattern):
        return None
    return str(PurePosixPath(*parts[:-depth])) if len(parts) > depth else "."


def _head_on_disk(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _member_head(zip_file: ZipFile, entry: ZipInfo, size: int = HEAD_BYTES) -> bytes:
    try:
        return archive.head(zip_file, entry, size)
    except InvalidFile:
        return b""


def _beside_on_disk(file: Path) -> Beside:
    def beside(name: str) -> AbstractContextManager[Source | None]:
        other = file.parent / name
        return nullcontext(Source(path=other, name=other.name) if other.is_file() else None)

    return beside
