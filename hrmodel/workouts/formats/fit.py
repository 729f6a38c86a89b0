"""FIT activities: one workout per session, whose records are those from its start to the next one's.

Sessions' ends are not needed: devices disagree on them, and between two sessions nothing is recorded.
A file with no sport at all (a watch that crashed writes its session last) is taken for a run, as in GPX; one set to
`generic` is not, since its owner chose "other". Smart recording and stopped timers leave gaps.
"""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from fitdecode import FIT_DATETIME_MIN, FIT_UTC_REFERENCE, profile  # type: ignore[import-untyped]
from numpy.typing import NDArray

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.fit_messages import Message, messages
from hrmodel.workouts.formats.fit_strap import StrapHeartRate
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.tracks import Track, to_workout
from hrmodel.workouts.workout import Array, Workout

ACTIVITY = 4
FILE_TYPES = profile.FIELD_TYPES["file"].enum
SPORTS = profile.FIELD_TYPES["sport"].enum
SUB_SPORTS = profile.FIELD_TYPES["sub_sport"].enum
DEGREES = 180 / 2**31  # a semicircle
MAX_SESSIONS = 30
CLOCK_FAULT = 7 * 86400.0  # s: a record this far from the middle one has a broken clock


def matches(head: bytes) -> bool:
    """True for a FIT file, by its first bytes."""
    return head[8:12] == b".FIT"


def read(source: Source) -> Iterator[Workout]:
    """One workout per session with records, and what a damaged file still holds. Raises InvalidFile."""
    found, others = 0, []
    for part, damage in _parts(source):
        for track in part.tracks(damaged=damage is not None):
            found += 1
            yield to_workout(track, f"session {found}" if found > 1 else "")
        if damage is not None:
            raise damage
        if part.kind != ACTIVITY:
            others.append(FILE_TYPES.get(part.kind, f"file type {part.kind:.0f}"))
    if found:
        return
    if others:
        raise InvalidFile("not_an_activity", "", f"it holds no recorded activity but: {', '.join(sorted(set(others)))}")
    raise InvalidFile("no_track", "", "it holds no records with a time; export the recorded activity")


def _parts(source: Source) -> Iterator[tuple["_Part", InvalidFile | None]]:
    """Each of the chained FIT files, the last one perhaps with what damaged it."""
    part = _Part()
    try:
        for message in messages(source):
            if message is not None:
                part.take(message)
            else:
                yield part, None
                part = _Part()
    except InvalidFile as error:
        if error.code != "broken_fit":
            raise
        yield part, error


@dataclass(kw_only=True)
class _Part:
    """What the messages of one FIT file tell. Times are unix seconds."""

    kind: float = ACTIVITY
    sport: dict[str, float] = field(default_factory=dict)  # the newest `sport` message: what is being recorded
    records: Track = field(default_factory=lambda: Track(label="the records"))
    sessions: list[dict[str, float]] = field(default_factory=list)
    strap: StrapHeartRate = field(default_factory=StrapHeartRate)

    def take(self, message: Message) -> None:
        """Note what a message says. Raises InvalidFile when there are too many."""
        values, name = message.values, message.name
        if name == "record":
            self.records.add(_point(values, message.arrays))
        elif name == "hr":
            self.strap.take(values, message.arrays)
        elif name == "session":
            if len(self.sessions) >= MAX_SESSIONS:
                raise InvalidFile("too_large", "", f"more than {MAX_SESSIONS} sessions")
            self.sessions.append(values)
        elif name == "sport":
            self.sport = values
        else:
            self.kind = values.get("type", ACTIVITY)

    def tracks(self, *, damaged: bool) -> Iterator[Track]:
        """The records of each session that has some; together when there is no session."""
        times = np.array(self.records.times)
        if self.kind != ACTIVITY or not np.isfinite(times).any():
            return
        times[np.abs(times - np.nanmedian(times)) > CLOCK_FAULT] = np.nan
        values = {name: np.array(column) for name, column in self.records.values.items()}
        self.strap.fill(times, values["heart_rate"])
        starts, sports = self._legs(damaged=damaged)
        leg = np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)
        for i in np.unique(leg[np.isfinite(times)]):
            yield _track(times, values, leg == i, sports[i])

    def _legs(self, *, damaged: bool) -> tuple[Array, list[str]]:
        """The (L,) starts of the sessions in their order, and their sports."""
        if not self.sessions:
            return np.zeros(1), [_sport(self.sport)]
        legs = sorted((_start(session), _sport(session) or _sport(self.sport)) for session in self.sessions)
        if damaged:  # a leg may have begun whose session was never written
            legs.append((max(map(_end, self.sessions)), _sport(self.sport)))
        return np.array([start for start, _ in legs]), [sport for _, sport in legs]


def _track(times: Array, values: dict[str, Array], chosen: NDArray[np.bool_], sport: str) -> Track:
    if "cycling" in sport or "biking" in sport:
        values = values | {"cadence": np.full(len(times), np.nan)}  # turns of the crank
    columns = {name: array("d", column[chosen]) for name, column in values.items()}
    return Track(label="the records", sport=sport, times=array("d", times[chosen]), values=columns)


def _point(values: dict[str, float], arrays: dict[str, tuple[int, ...]]) -> dict[str, float]:
    """A record in the words of `Track`, without what is missing."""
    heart_rate = values.get("heart_rate", math.nan)
    seconds = values.get("timestamp", 0)
    point = {
        "time": seconds + FIT_UTC_REFERENCE if seconds >= FIT_DATETIME_MIN else math.nan,  # else since power on
        "heart_rate": heart_rate if 0 < heart_rate < 255 else math.nan,
        "latitude": values.get("position_lat", math.nan) * DEGREES,
        "longitude": values.get("position_long", math.nan) * DEGREES,
        "altitude": values.get("enhanced_altitude", values.get("altitude", math.nan)),
        "speed": values.get("enhanced_speed", values.get("speed", math.nan)),
        "distance": values.get("distance", math.nan),
        "cadence": values.get("cadence", math.nan) + values.get("fractional_cadence", 0.0),
    }
    packed = arrays.get("compressed_speed_distance", ())
    if len(packed) == 3 and packed != (255, 255, 255):
        point["speed"] = (packed[0] | (packed[1] & 0xF) << 8) / 100
    return point


def _start(session: dict[str, float]) -> float:
    unknown = session.get("timestamp", 0.0) - session.get("total_elapsed_time", 0.0)
    return session.get("start_time", unknown) + FIT_UTC_REFERENCE


def _end(session: dict[str, float]) -> float:
    elapsed = _start(session) + session.get("total_elapsed_time", 0.0)
    return max(session.get("timestamp", 0.0) + FIT_UTC_REFERENCE, elapsed) + 0.5


def _sport(values: dict[str, float]) -> str:
    """The sport as recorded, empty when unknown; running on a machine may come as `fitness_equipment`."""
    if "sport" not in values:
        return ""
    sport = SPORTS.get(values["sport"], f"sport {values['sport']:.0f}")
    sub_sport = SUB_SPORTS.get(values.get("sub_sport"), "")
    on_machine = sport in ("generic", "fitness_equipment") and sub_sport in ("treadmill", "indoor_running")
    return str(sub_sport if on_machine else sport)
