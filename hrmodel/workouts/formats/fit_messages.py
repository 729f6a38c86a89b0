"""FIT messages of unknown origin, read safely: only the fields that a workout needs, with units.

fitdecode finds the frames: headers, definitions, files chained one after the other. It decodes every field of every
message on its own, 50 to 100 us for a watch's record, and trips over hostile ones; here all wanted fields of a message
are unpacked at once and everything else is passed over. Checksums are not compared: real exports get them wrong, and
the workout is there all the same.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import SEEK_END
from typing import Any

from fitdecode import (  # type: ignore[import-untyped]
    CrcCheck,
    ErrorHandling,
    FitCRC,
    FitDataMessage,
    FitDefinitionMessage,
    FitEOFError,
    FitError,
    FitHeader,
    FitParseError,
    FitReader,
    profile,
)

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.fit_developer import RECORD, DeveloperField
from hrmodel.workouts.formats.source import Source

MAX_WORK = 500_000  # messages and defined fields of a file: 41 hours of a talkative watch; they take 2 to 4 s
MAX_FILES = 50  # chained in one
MAX_VALUE = 1e10  # larger numbers are no measurements
FRAMES_PER_REPORT = 1024
TIMESTAMP = 253  # the number of this field in every message
ARRAYS = frozenset({"filtered_bpm", "event_timestamp", "event_timestamp_12", "compressed_speed_distance"})
FIELDS = {
    "file_id": {"type", "time_created"},
    "activity": {"timestamp", "local_timestamp"},
    "field_description": {
        *("developer_data_index", "field_definition_number", "fit_base_type_id", "scale", "offset"),
        *("native_mesg_num", "native_field_num"),
    },
    "sport": {"sport", "sub_sport"},
    "session": {"timestamp", "start_time", "total_elapsed_time", "sport", "sub_sport"},
    "hr": {"timestamp", "fractional_timestamp", "time256", "filtered_bpm", "event_timestamp", "event_timestamp_12"},
    "record": {
        *("timestamp", "position_lat", "position_long", "altitude", "enhanced_altitude", "heart_rate", "cadence"),
        *("fractional_cadence", "distance", "speed", "enhanced_speed", "compressed_speed_distance"),
    },
}
WANTED: dict[int, dict[int, Any]] = {
    number: {field.def_num: field for field in kind.fields.values() if field.name in FIELDS[kind.name]}
    for number, kind in profile.MESSAGE_TYPES.items()
    if kind.name in FIELDS
}
MAX_DEVELOPER_FIELDS = 8  # of a record, that are kept
MAX_DEVELOPER_BYTES = 8  # of one of them: a number
ENDING = 2  # bytes of the checksum behind the messages
PADDING = 1 << 16  # bytes of zeros behind a file: room that a device had set aside
MAGIC = b".FIT"
HEADER = re.compile(rb"[\x0c\x0e][\x10-\x2f].{6}\.FIT", re.DOTALL)  # its own size, the protocol's version, sizes
MAX_SEARCHED = 64 << 20  # bytes, for the header of a chained file
ONLY_TIME = {TIMESTAMP: profile.FIELD_TYPE_TIMESTAMP}


class Message(FitDataMessage):
    """A data message. `values`: scaled, by field name, without the missing ones; `arrays`: raw whole numbers;
    `developer`: of a record, the bytes of its developer fields."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.values: dict[str, float] = {}
        self.arrays: dict[str, tuple[int, ...]] = {}
        self.developer: dict[DeveloperField, bytes] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """How to take the wanted fields out of a message's bytes. `empty`: the message without them."""

    empty: Message
    size: int
    unpack: Callable[[bytes], tuple[Any, ...]]
    scalars: tuple[tuple[str, int, Callable[[Any], Any], float, float], ...]  # name, place, validity, scale, offset
    arrays: tuple[tuple[str, int, int], ...]  # name, first place, end
    developer: tuple[tuple[DeveloperField, int], ...]  # and its place


def messages(source: Source) -> Iterator[Message | None]:
    """The messages named in FIELDS, and None at the end of each of the chained FIT files.

    Raises InvalidFile `broken_fit` where the file is damaged or ends too soon, `too_large` past MAX_WORK.
    """
    with source.path.open("rb") as file:
        reader = _Reader(file, processor=None, check_crc=CrcCheck.DISABLED, error_handling=ErrorHandling.IGNORE)
        try:
            for frame in _bounded(reader, source):
                if isinstance(frame, FitCRC):
                    yield None
                elif isinstance(frame, Message) and frame.global_mesg_num in WANTED:
                    yield frame
        except (FitError, struct.error, AssertionError) as error:  # the latter two from headers and ends that lie
            if not reader.lacks_only_checksum(error):
                hint = "the FIT file is damaged or cut off here; only what was recorded before can be read"
                raise InvalidFile("broken_fit", f"byte {file.tell()}", hint) from error
            yield None


def _bounded(reader: "_Reader", source: Source) -> Iterator[object]:
    """The frames, as many as there may be; tells the source how far it is."""
    fields = files = told = 0
    for count, frame in enumerate(reader):
        if isinstance(frame, FitDefinitionMessage):
            fields += len(frame.field_defs) + len(frame.dev_field_defs)
        elif isinstance(frame, FitHeader):
            files += 1
        if count + fields > MAX_WORK or files > MAX_FILES:
            hint = f"more than {MAX_WORK} FIT messages and defined fields, or {MAX_FILES} chained files"
            raise InvalidFile("too_large", "", hint)
        if count % FRAMES_PER_REPORT == 0:
            source.advanced(reader.place - told)
            told = reader.place
        yield frame
    source.advanced(reader.place - told)


class _Reader(FitReader):
    """fitdecode's frames with our decoding, for which it has no public place (0.11)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans: dict[int, _Plan] = {}
        self._to_the_end = False  # the header's size is wrong
        self._clock: int | None = None  # the newest timestamp, which compressed ones count from

    @property
    def place(self) -> int:
        """The byte in the file that comes next."""
        return int(self._read_offset)

    def lacks_only_checksum(self, error: Exception) -> bool:
        """True when all messages had been read before the error: those that the header announced, or all there are."""
        if self._header is None:
            return False
        if self._to_the_end:
            return self._body_bytes_left <= ENDING
        return isinstance(error, FitEOFError) and self._body_bytes_left == 0

    def _read_header(self) -> None:
        self._clock = None
        if self._is_padding():
            return  # as at the end of the file
        super()._read_header()
        self._to_the_end = self._header is not None and not self._is_followed(self._body_bytes_left)
        if self._to_the_end:  # the size was never written: the messages go on to the next file, or to the end
            here = self._fd.tell()
            if chained := HEADER.search(self._fd.read(MAX_SEARCHED), ENDING):
                self._to_the_end = False
                self._body_bytes_left: int = chained.start() - ENDING
            else:
                self._body_bytes_left = self._fd.seek(0, SEEK_END) - here
            self._fd.seek(here)

    def _is_followed(self, size: int) -> bool:
        """True when the end, another header or zeros follow so many bytes and a checksum, or no more is there."""
        here = self._fd.tell()
        self._fd.seek(here + size)
        rest = self._fd.read(ENDING + 12)
        self._fd.seek(here)
        return len(rest) <= ENDING or rest[-4:] == MAGIC or not any(rest[ENDING:])

    def _is_padding(self) -> bool:
        """True when nothing but zeros follows."""
        here = self._fd.tell()
        rest = self._fd.read(PADDING)
        self._fd.seek(here)
        return bool(rest) and not any(rest)

    def _read_definition_message(self, header_chunk: bytes, record_header: Any) -> FitDefinitionMessage:
        definition = super()._read_definition_message(header_chunk, record_header)
        self._plans[definition.local_mesg_num] = _plan(definition)
        return definition

    def _read_data_message(self, header_chunk: bytes, record_header: Any) -> Message:
        local, offset = record_header.local_mesg_num, record_header.time_offset
        if local not in self._local_mesg_defs:
            raise FitParseError(self._chunk_offset, f"local message {local} not defined")
        plan = self._plans[local]
        raw = plan.unpack(self._read_bytes(plan.size))
        if not raw and offset is None:
            return plan.empty
        message = Message(False, local, offset, plan.empty.def_mesg, (), None)
        for name, place, valid, scale, shift in plan.scalars:
            value = valid(raw[place])
            if value is not None and -MAX_VALUE < value < MAX_VALUE:
                message.values[name] = value / scale - shift
        message.arrays = {name: raw[first:end] for name, first, end in plan.arrays}
        if plan.developer:
            message.developer = {name: raw[place] for name, place in plan.developer}
        self._tell_time(message.values, offset)
        return message

    def _read_bytes(self, size: int) -> bytes:
        """As fitdecode's, without its care for checksums and for files that are still being written."""
        chunk: bytes = self._fd.read(size)
        if len(chunk) < size:
            raise FitEOFError(size, len(chunk), self._read_offset)
        self._chunk_size += size
        self._read_offset += size
        return chunk

    def _tell_time(self, values: dict[str, float], offset: int | None) -> None:
        """Keep the clock, or read it where the message has only the low 5 bits of its time."""
        if "timestamp" in values:
            self._clock = int(values["timestamp"])
        elif offset is not None and self._clock is not None:
            self._clock += (offset - self._clock) & 0x1F
            values["timestamp"] = self._clock

    def _add_dev_data_id(self, message: object) -> None:
        """What developer fields mean is told apart; their sizes are in the definitions."""

    _add_dev_field_description = _add_dev_data_id


def _plan(definition: FitDefinitionMessage) -> _Plan:
    wanted = dict(WANTED.get(definition.global_mesg_num, ONLY_TIME))
    layout, places = [definition.endian], 0
    scalars, arrays = [], []
    developer: list[tuple[DeveloperField, int]] = []
    for defined in definition.all_field_defs:
        base = defined.base_type
        if _is_kept(definition, defined) and len(developer) < MAX_DEVELOPER_FIELDS:
            name = DeveloperField(
                index=defined.dev_data_index, number=defined.def_num, size=defined.size, endian=definition.endian
            )
            developer.append((name, places))
            layout.append(f"{defined.size}s")
            places += 1
            continue
        field = None if defined.is_dev else wanted.pop(defined.def_num, None)  # one that comes twice counts once
        count = 1 if field is None or field.name not in ARRAYS else defined.size // base.size
        if field is None or not _readable(field, base) or not 0 < count * base.size <= defined.size:
            layout.append(f"{defined.size}x")
            continue
        layout.append(f"{count}{base.fmt}{defined.size - count * base.size}x")
        if field.name in ARRAYS:
            arrays.append((field.name, places, places + count))
        else:
            scalars.append((field.name, places, base.parse, field.scale or 1, field.offset or 0))
        places += count
    packed = struct.Struct("".join(layout))
    empty = Message(False, definition.local_mesg_num, None, definition, (), None)
    return _Plan(
        empty=empty,
        size=packed.size,
        unpack=packed.unpack,
        scalars=tuple(scalars),
        arrays=tuple(arrays),
        developer=tuple(developer),
    )


def _is_kept(definition: FitDefinitionMessage, defined: Any) -> bool:
    """True for a number that an app added to a record."""
    return bool(defined.is_dev and definition.global_mesg_num == RECORD and 0 < defined.size <= MAX_DEVELOPER_BYTES)


def _readable(field: Any, base: Any) -> bool:
    """True for a field whose values, stored in this type, mean something."""
    if field.def_num == TIMESTAMP or field.name == "event_timestamp":
        return bool(base.fmt == "I")
    if field.name in ARRAYS:
        return bool(base.fmt == "B")
    return base.name not in ("string", "byte")
