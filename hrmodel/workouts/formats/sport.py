"""Which sport a workout is, for all formats, and who said so.

In this order: the export's own list of activities, the file's own field, its name, what the caller says of files that
name no sport, and last speed and steps. A file that calls its sport "other" is not guessed at: its owner chose so.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from hrmodel.workouts.formats import sport_words as words
from hrmodel.workouts.formats.source import SaidSport, Source
from hrmodel.workouts.gait import RIDE_SPEED, Gait, both_feet, gait_of
from hrmodel.workouts.walking import looks_walked
from hrmodel.workouts.workout import Workout

RUNNING, CYCLING, WALKING, HIKING, UNKNOWN = "running", "cycling", "walking", "hiking", "unknown"
SHOWN_CHARACTERS = 40  # of a recorded word or name
NAME_WORDS = 6  # a longer name tells a story
STRAVA_NUMBERS = {"1": CYCLING, "4": HIKING, "9": RUNNING, "10": WALKING, "16": "swimming", "17": CYCLING}
DIGITS = re.compile(r"\d+")
# HealthKit, Google and FIT write them in front
PREFIX = re.compile(r"^(?:HKWorkoutActivityType|com\.google\.|sport[:_]|ACTIVITY_TYPE_)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class SportDecision:
    """A sport, and who said so, to be read behind "a run by": "its name, Morning Run". Empty: the file's own field."""

    sport: str
    source: str = ""


@lru_cache(maxsize=256)
def sport_called(word: str) -> str | None:
    """`running`, `cycling`, `walking`, `hiking`, another known sport by its own word, or `unknown` for a word that says
    that it is something else; None for no word, "unknown", and what no list of ours knows.
    """
    word = PREFIX.sub("", word.strip())
    if not word:
        return None
    if word in (RUNNING, CYCLING, WALKING, HIKING):  # most files: without making the lists of words
        return word
    if word in STRAVA_NUMBERS:
        return STRAVA_NUMBERS[word]
    text = words.folded(word)
    if sport := _found_in(text):
        return words.CAMEL.sub("_", word[:SHOWN_CHARACTERS]).lower() if sport == "other" else sport
    rest = words.vocabulary(words.UNNAMED).without(text)
    return UNKNOWN if rest != text and not DIGITS.sub("", rest).strip() else None


def sport_in_name(name: str) -> str | None:
    """The sport that a workout's name tells: "Morning Run", "Cycling 5/1/19 7:03 am"; None when it tells none."""
    text = DIGITS.sub(" ", words.folded(name))
    text = words.vocabulary(words.IN_NAMES_NO_SPORT).without(" ".join(text.split()))
    if len(text.split()) > NAME_WORDS:
        return None
    sport = _found_in(text)
    return None if sport == "other" else sport


def decide(workout: Workout, *, name: str = "", listed: str = "", said: SaidSport | None = None) -> SportDecision:
    """The sport of a workout whose `sport` is the recorded word, perhaps empty.

    `name`: the workout's; `listed`: the word for it in the export's list of activities; `said`: what files are that
    name no sport.
    """
    word = workout.sport
    in_list, in_file = sport_called(listed), sport_called(word)
    if in_list not in (None, UNKNOWN, in_file):
        return SportDecision(sport=str(in_list), source=f"the export's list of activities, {_shown(listed)}")
    if in_file not in (None, UNKNOWN):
        return SportDecision(sport=str(in_file))
    gait = gait_of(workout)
    named = sport_in_name(name)
    if named and not (named != RUNNING and gait.steps_of_a_run and not _may_be_cranks(named, gait)):
        return SportDecision(sport=named, source=f"its name, {_shown(name)}")
    if said:
        return SportDecision(sport=said, source=f"your word, sport={said}")
    if UNKNOWN in (in_list, in_file) or ((_is_foreign(word) or _is_foreign(listed)) and not gait.steps_of_a_run):
        return SportDecision(sport=UNKNOWN, source=_shown(word or listed))
    if gait.of_a_ride:
        return SportDecision(sport=CYCLING, source=f"its speed, {gait.mean:.1f} m/s")
    if looks_walked(workout, gait):
        return SportDecision(sport=WALKING, source=f"its speed, {gait.median:.1f} m/s")
    return SportDecision(sport=RUNNING, source="its speed and steps" if gait.steps_of_a_run else "its speed")


def decided(workout: Workout, source: Source, *, name: str = "", steps: bool = False) -> Workout:
    """The workout as a file holds it, its `sport` the recorded word, with its sport and the steps of both feet.

    `steps`: its cadence is of both feet for sure; else it may be of one, or of a crank.
    """
    if workout.cadence is not None and not steps:
        workout = replace(workout, cadence=both_feet(workout.cadence, workout.speed))
    decision = decide(workout, name=name, listed=source.listed_sport, said=source.said_sport)
    cadence = None if decision.sport == CYCLING else workout.cadence  # turns of the crank
    return replace(workout, sport=decision.sport, sport_source=decision.source, cadence=cadence)


def may_be_a_run(word: str, said: SaidSport | None) -> bool:
    """False when the recorded word alone says that it is no run, whatever else is known."""
    return sport_called(word) in ((RUNNING, None, UNKNOWN) if said else (RUNNING, None))


def _found_in(text: str) -> str | None:
    """The sport of which a folded text has a word; `other` for two at once, and for what is none of ours."""
    if words.vocabulary(words.OTHER).in_text(text):
        return "other"
    rest = words.vocabulary(words.MACHINE).without(text)
    found = [sport for sport, known in _KNOWN if words.vocabulary(known).in_text(rest)]
    if CYCLING in found and RUNNING in found:
        return "other"
    return next(iter(found), RUNNING if rest != text else None)


# in this order: "run/walk" is a run with breaks, "hike" a walk in the mountains
_KNOWN = ((RUNNING, words.RUNNING), (CYCLING, words.CYCLING), (HIKING, words.HIKING), (WALKING, words.WALKING))


def _may_be_cranks(named: str, gait: Gait) -> bool:
    """True for the name of a ride at its speed: twice the turns of its crank are the steps of a run."""
    return named == CYCLING and gait.mean > RIDE_SPEED


def _is_foreign(word: str) -> bool:
    """True for a word that names neither a sport nor that none is known: in a language of which we have no words."""
    text = words.folded(word)
    return bool(words.vocabulary(words.UNKNOWN).without(text)) and sport_called(word) is None


def _shown(text: str) -> str:
    clean = "".join(c for c in text if c.isprintable())[:SHOWN_CHARACTERS].strip()
    return f'"{clean}"' if clean else ""
