"""FIT activities: one workout per session, whose records are those from its start to the next one's.

Sessions' ends are not needed: devices disagree on them, and between two sessions nothing is recorded.
A file may hold no sport at all: a watch that crashed writes its session last. Smart recording and stopped timers leave
gaps.
"""

import itertools
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from fitdecode import FIT_DATETIME_MIN, FIT_UTC_REFERENCE, profile  # type: ignore[import-untyped]

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import timeline
from hrmodel.workouts.formats.clock_blocks import Shift
from hrmodel.workouts.formats.fit_developer import DeveloperFields
from hrmodel.workouts.formats.fit_messages import Message, messages
from hrmodel.workouts.formats.fit_strap import StrapHeartRate
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.sport import UNKNOWN, decided, sport_called
from hrmodel.workouts.formats.tracks import Track, to_workout
from hrmodel.workouts.reasons import Reason
from hrmodel.workouts.workout import Array, Workout

ACTIVITY = 4
FILE_TYPES = profile.FIELD_TYPES["file"].enum
SPORTS = profile.FIELD_TYPES["sport"].enum
SUB_SPORTS = profile.FIELD_TYPES["sub_sport"].enum
DEGREES = 180 / 2**31  # a semicircle
MAX_SESSIONS = 2000
SESSION_EARLY = 60.0  # s that a session may begin before its first record
UNTOLD = ("generic", "training", "fitness_equipment", "all")  # sports that may be any
KINDS = dict.fromkeys(("street", "trail", "track", "obstacle", "ultra"), "running")
KINDS |= dict.fromkeys(("road", "mountain", "downhill", "recumbent"), "cycling")


def read(source: Source) -> Iterator[Workout]:
    """One workout per session with records, and what a damaged file still holds. Raises InvalidFile."""
    parts, damage = _parts(source)
    straps = [part.strap for part in parts if not part.records.times]  # that wrote a file of their own
    found, others = 0, []
    for part in parts:
        for track in part.tracks(straps, damaged=damage is not None and part is parts[-1]):
            found += 1
            workout = to_workout(track, f"session {found}" if found > 1 else "", source.units)
            yield decided(workout, source)
        if part.kind != ACTIVITY:
            others.append(FILE_TYPES.get(part.kind, f"file type {part.kind:.0f}"))
    if damage is not None:
        raise damage
    if found:
        return
    if others:
        raise InvalidFile("not_an_activity", "", f"it holds no recorded activity but: {', '.join(sorted(set(others)))}")
    raise InvalidFile("no_track", "", "it holds no records with a time; export the recorded activity")


def _parts(source: Source) -> tuple[list["_Part"], InvalidFile | None]:
    """The chained FIT files, the last one perhaps damaged, and what damaged it."""
    parts = [_Part()]
    try:
        for message in messages(source):
            if message is not None:
                parts[-1].take(message)
            else:
                parts.append(_Part())
    except InvalidFile as error:
        if error.code != "broken_fit":
            raise
        return parts, error
    return parts[:-1], None


@dataclass(kw_only=True)
class _Part:
    """What the messages of one FIT file tell. Times are unix seconds."""

    kind: float = ACTIVITY
    known: bool = False  # its first message has said of which kind it is
    sport: dict[str, float] = field(default_factory=dict)  # the newest `sport` message: what is being recorded
    records: Track = field(default_factory=lambda: Track(label="the records"))
    sessions: list[dict[str, float]] = field(default_factory=list)
    strap: StrapHeartRate = field(default_factory=StrapHeartRate)
    developer: DeveloperFields = field(default_factory=DeveloperFields)
    activity: dict[str, float] = field(default_factory=dict)
    created: float = math.nan  # FIT seconds

    def take(self, message: Message) -> None:
        """Note what a message says. Raises InvalidFile when there are too many."""
        values, name = message.values, message.name
        if name == "record":
            self.developer.take(len(self.records.times), message.developer)
            self.records.add(_point(values, message.arrays))
        elif name == "hr":
            self.strap.take(values, message.arrays)
        elif name == "session":
            if len(self.sessions) >= MAX_SESSIONS:
                raise InvalidFile("too_large", "", f"more than {MAX_SESSIONS} sessions")
            self.sessions.append(values)
        elif name == "sport":
            self.sport = values
        elif name == "field_description":
            self.developer.describe(values)
        elif name == "activity":
            self.activity = values
        elif not self.known:  # where a file is damaged, zeros look like another such message
            self.known = True
            self.kind = values.get("type", ACTIVITY)
            self.created = values.get("time_created", math.nan)

    def tracks(self, straps: list[StrapHeartRate], *, damaged: bool) -> Iterator[Track]:
        """The records of each session that has some; together when there is no session.

        `straps`: heart rate from elsewhere, for records that have none.
        """
        if self.kind != ACTIVITY or not np.isfinite(self.records.times).any():
            return
        values = {name: np.array(column) for name, column in self.records.values.items()}
        self.developer.fill(values)
        series = timeline.build(np.array(self.records.times), values)
        ahead, reasons = self._clock(series.times)
        times = series.times + ahead
        for strap in (self.strap, *straps):
            strap.fill(times, series.columns["heart_rate"])
        starts, sports = self._legs(series.shifts, damaged=damaged)
        leg = np.maximum(np.searchsorted(starts + ahead, times, side="right") - 1, 0)
        bounds = [0, *(np.flatnonzero(np.diff(leg)) + 1).tolist(), len(times)]
        for first, last in itertools.pairwise(bounds):
            track = _track(times, series.columns, slice(first, last), sports[leg[first]])
            if first == 0:
                track.removed, track.reasons = series.removed, (*series.reasons, *reasons)
            yield track

    def _clock(self, times: Array) -> tuple[float, tuple[Reason, ...]]:
        """By how much the (N,) times were late, s: devices that were never told the time count from when they were
        switched on. Where nothing tells the time the records are days from 1970, which is no clock."""
        if times[-1] >= FIT_UTC_REFERENCE + FIT_DATETIME_MIN:
            return 0.0, ()
        counted = self.activity.get("timestamp", math.nan)
        told = self.activity.get("local_timestamp", math.nan)
        if counted < FIT_DATETIME_MIN <= told:
            ahead, words = told - counted, "the activity message tells the local time"
        elif counted >= FIT_DATETIME_MIN:
            ahead, words = counted + FIT_UTC_REFERENCE - times[-1], "the activity message tells when it ended"
        elif told >= FIT_DATETIME_MIN:
            ahead, words = told + FIT_UTC_REFERENCE - times[-1], "the activity message tells the local time of its end"
        elif self.created >= FIT_DATETIME_MIN:
            ahead, words = self.created + FIT_UTC_REFERENCE - times[0], "the file tells when it was made"
        else:
            ahead, words = -float(FIT_UTC_REFERENCE), "nothing tells the date"
        message = f"the device counted the time from when it was switched on: {words}"
        return ahead, (Reason(code="clock_fault", samples=len(times), message=message),)

    def _legs(self, shifts: tuple[Shift, ...], *, damaged: bool) -> tuple[Array, list[str]]:
        """The (L,) starts of the sessions in their order, on the clock of the records, and their sports."""
        if not self.sessions:
            return np.zeros(1), [_sport(self.sport)]
        recorded = _sport(self.sport)
        named = recorded if len(self.sessions) == 1 and sport_called(recorded) not in (None, UNKNOWN) else ""
        legs = sorted((_shifted(_start(session), shifts), self._leg(session, named)) for session in self.sessions)
        if damaged:  # a leg may have begun whose session was never written
            legs.append((max(map(_end, self.sessions)), _sport(self.sport)))
        return np.array([start for start, _ in legs]), [sport for _, sport in legs]

    def _leg(self, session: dict[str, float], named: str) -> str:
        """The sport of a session; `named`: that of the `sport` message, where a session names none."""
        sport = _sport(session) or _sport(self.sport)
        return named if named and sport_called(sport) in (None, UNKNOWN) else sport


def _shifted(start: float, shifts: tuple[Shift, ...]) -> float:
    """A session's start on the clock of the records."""
    ahead = [shift.seconds for shift in shifts if shift.begin - SESSION_EARLY <= start <= shift.end]
    return start + ahead[0] if ahead else start


def _track(times: Array, values: dict[str, Array], chosen: slice, sport: str) -> Track:
    columns = {name: array("d", column[chosen]) for name, column in values.items()}
    return Track(label="the records", sport=sport, times=array("d", times[chosen]), values=columns)


def _point(values: dict[str, float], arrays: dict[str, tuple[int, ...]]) -> dict[str, float]:
    """A record in the words of `Track`, without what is missing."""
    heart_rate = values.get("heart_rate", math.nan)
    point = {
        "time": values.get("timestamp", math.nan) + FIT_UTC_REFERENCE,
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
    return session.get("start_time", unknown) + float(FIT_UTC_REFERENCE)


def _end(session: dict[str, float]) -> float:
    elapsed = _start(session) + session.get("total_elapsed_time", 0.0)
    return max(session.get("timestamp", 0.0) + float(FIT_UTC_REFERENCE), elapsed) + 0.5


def _sport(values: dict[str, float]) -> str:
    """The sport as recorded, empty when unknown. Where a watch has no name for it, the kind of it may say more."""
    if "sport" not in values:
        return ""
    sport = SPORTS.get(values["sport"], f"sport {values['sport']:.0f}")
    if sport not in UNTOLD:
        return str(sport)
    kind = str(SUB_SPORTS.get(values.get("sub_sport"), ""))
    kind = KINDS.get(kind, kind)
    return str(sport if sport_called(kind) in (None, UNKNOWN) else kind)
