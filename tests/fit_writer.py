"""Writes small FIT files, as the FIT protocol describes them, for tests of what reads them."""

import struct
from dataclasses import dataclass, field

TYPES = {
    "enum": (0x00, "B", 0xFF),
    "uint8": (0x02, "B", 0xFF),
    "uint16": (0x84, "H", 0xFFFF),
    "sint32": (0x85, "i", 0x7FFFFFFF),
    "uint32": (0x86, "I", 0xFFFFFFFF),
    "float32": (0x88, "f", float("nan")),
    "byte": (0x0D, "B", 0xFF),
}
NUMBERS = {
    "file_id": 0,
    "sport": 12,
    "session": 18,
    "record": 20,
    "event": 21,
    "activity": 34,
    "hr": 132,
    "field_description": 206,
    "developer_data_id": 207,
}
# message -> field -> number, type, scale, offset (Profile.xlsx of the FIT SDK)
FIELDS: dict[str, dict[str, tuple[int, str, float, float]]] = {
    "file_id": {"type": (0, "enum", 1, 0), "manufacturer": (1, "uint16", 1, 0), "time_created": (4, "uint32", 1, 0)},
    "sport": {"sport": (0, "enum", 1, 0), "sub_sport": (1, "enum", 1, 0)},
    "session": {
        "timestamp": (253, "uint32", 1, 0),
        "start_time": (2, "uint32", 1, 0),
        "sport": (5, "enum", 1, 0),
        "sub_sport": (6, "enum", 1, 0),
        "total_elapsed_time": (7, "uint32", 1000, 0),
    },
    "record": {
        "timestamp": (253, "uint32", 1, 0),
        "position_lat": (0, "sint32", 2**31 / 180, 0),
        "position_long": (1, "sint32", 2**31 / 180, 0),
        "altitude": (2, "uint16", 5, 500),
        "heart_rate": (3, "uint8", 1, 0),
        "cadence": (4, "uint8", 1, 0),
        "distance": (5, "uint32", 100, 0),
        "speed": (6, "uint16", 1000, 0),
        "compressed_speed_distance": (8, "byte", 1, 0),
        "fractional_cadence": (53, "uint8", 128, 0),
        "enhanced_speed": (73, "uint32", 1000, 0),
        "enhanced_altitude": (78, "uint32", 5, 500),
    },
    "event": {"timestamp": (253, "uint32", 1, 0), "event": (0, "enum", 1, 0), "event_type": (1, "enum", 1, 0)},
    "activity": {"timestamp": (253, "uint32", 1, 0), "local_timestamp": (5, "uint32", 1, 0)},
    "hr": {
        "timestamp": (253, "uint32", 1, 0),
        "fractional_timestamp": (0, "uint16", 32768, 0),
        "filtered_bpm": (6, "uint8", 1, 0),
        "event_timestamp": (9, "uint32", 1024, 0),
        "event_timestamp_12": (10, "byte", 1, 0),
    },
    "field_description": {
        "developer_data_index": (0, "uint8", 1, 0),
        "field_definition_number": (1, "uint8", 1, 0),
        "fit_base_type_id": (2, "uint8", 1, 0),
        "scale": (6, "uint8", 1, 0),
        "native_mesg_num": (14, "uint16", 1, 0),
        "native_field_num": (15, "uint8", 1, 0),
    },
    "developer_data_id": {"developer_data_index": (3, "uint8", 1, 0)},
}
CRC_TABLE = (
    *(0x0000, 0xCC01, 0xD801, 0x1400, 0xF001, 0x3C00, 0x2800, 0xE401),
    *(0xA001, 0x6C00, 0x7800, 0xB401, 0x5000, 0x9C01, 0x8801, 0x4400),
)
START = 1_000_000_000  # FIT seconds: 2021-09-08T01:46:40Z
Value = float | int | bytes | tuple[float, ...] | None


@dataclass
class FitWriter:
    """The body of one FIT file, message by message; a definition is written whenever the fields change."""

    big_endian: bool = False
    body: bytearray = field(default_factory=bytearray)
    defined: dict[int, bytes] = field(default_factory=dict)

    def add(
        self, name: str, *, local: int = 0, offset: int | None = None, developer: bytes = b"", **values: Value
    ) -> None:
        """A message. None is the type's invalid marker, bytes go in as they are; `offset`: a compressed timestamp."""
        endian = ">" if self.big_endian else "<"
        fields, payload = [], b""
        for key, value in values.items():
            number, type_, scale, shift = FIELDS[name][key]
            identifier, code, invalid = TYPES[type_]
            if isinstance(value, bytes):
                packed = value
            else:
                several = value if isinstance(value, tuple) else (value,)
                raw = [invalid if v is None else (v + shift) * scale for v in several]
                packed = struct.pack(f"{endian}{len(raw)}{code}", *(v if code == "f" else round(v) for v in raw))
            fields.append(bytes([number, len(packed), identifier]))
            payload += packed
        self.define(local, NUMBERS[name], fields, [bytes([0, len(developer), 0])] if developer else [])
        header = local if offset is None else 0x80 | local << 5 | offset & 0x1F
        self.body += bytes([header]) + payload + developer

    def define(self, local: int, number: int, fields: list[bytes], developer: list[bytes] = []) -> None:  # noqa: B006
        """A definition, unless it is the one in force. A field is its number, size and base type."""
        endian = ">" if self.big_endian else "<"
        text = struct.pack(f"{endian}BBHB", 0, self.big_endian, number, len(fields)) + b"".join(fields)
        if developer:
            text += bytes([len(developer)]) + b"".join(developer)
        if self.defined.get(local) != text:
            self.defined[local] = text
            self.body += bytes([0x40 | (0x20 if developer else 0) | local]) + text

    def to_bytes(self, *, header_crc: bool = True) -> bytes:
        """The whole file, with its header and checksums."""
        header = struct.pack("<BBHI4s", 14 if header_crc else 12, 0x20, 2132, len(self.body), b".FIT")
        header += struct.pack("<H", crc(header)) if header_crc else b""
        content = header + bytes(self.body)
        return content + struct.pack("<H", crc(content))


def crc(content: bytes) -> int:
    """The 16-bit checksum of the FIT protocol."""
    value = 0
    for byte in content:
        for half in (byte & 0xF, byte >> 4):
            value = (value >> 4) ^ CRC_TABLE[value & 0xF] ^ CRC_TABLE[half]
    return value


def write(seconds: int = 60, *, sport: int = 1, sub_sport: int = 0, session: bool = True) -> bytes:
    """A run of so many seconds, a record each, as a watch writes it."""
    fit = FitWriter()
    fit.add("file_id", type=4, manufacturer=1)
    fit.add("event", local=1, timestamp=START, event=0, event_type=0)
    fit.add("sport", local=2, sport=sport, sub_sport=sub_sport)
    for s in range(seconds):
        fit.add(
            "record",
            local=3,
            timestamp=START + s,
            position_lat=47 + s * 2.7e-5,
            position_long=8.5,
            distance=3.0 * s,
            enhanced_speed=3.0,
            enhanced_altitude=400 + s / 5,
            heart_rate=120 + s % 40,
            cadence=85,
            fractional_cadence=0.5,
        )
    fit.add("event", local=1, timestamp=START + seconds, event=0, event_type=4)
    if session:
        times = {"timestamp": START + seconds, "start_time": START, "total_elapsed_time": seconds}
        fit.add("session", local=4, sport=sport, sub_sport=sub_sport, **times)
    return fit.to_bytes()
