"""A dataset's report in short: how many workouts were kept, repaired and dropped, and why."""

from collections import Counter
from collections.abc import Iterator, Sequence

from service.datasets.schemas import ReasonCount, ReportSummary
from service.registry.datasets import Outline
from service.registry.tables import Dataset

VERDICTS = ("kept", "repaired", "dropped")
SPLITS = ("train", "val", "test")

# What a runner reads in place of a reason's code.
# Codes are those of cleaning and of the import; a code that is missing here is shown by its own message.
SENTENCES = {
    # dropped
    "not_running": "another sport than running",
    "sport_not_named": "the file names no sport; if it is a run, upload it again with sport=running",
    "ride": "called a run, but too fast or too uneven for one: a ride",
    "no_speed": "no moving speed was recorded",
    "implausible_speed": "a speed that is not that of running",
    "walk": "a walk",
    "too_short": "under 10 minutes of recorded time",
    "no_heart_rate": "no heart rate was recorded",
    "sparse_heart_rate": "fewer than {minimum:g} heart-rate readings a minute",
    "faulty_heart_rate": "most of the heart rate is a sensor's fault",
    "duplicate": "recorded twice; the better recording stays",
    "not_listed": "too many to list each with its reason",
    # repaired
    "bad_time": "samples without a usable time",
    "clock_fault": "samples whose clock was wrong",
    "time_order": "samples out of the order of their times",
    "other_unit": "a speed or distance in another unit",
    "too_long": "recording longer than a day; the rest left out",
    "forgotten_stop": "recording went on after the run",
    "speed_impossible": "impossible speeds",
    "speed_jump": "leaps of the speed (jumping positions)",
    "altitude_impossible": "leaps of the altitude",
    "heart_rate_impossible": "impossible heart rates",
    "heart_rate_spike": "heart rate that leapt up and back",
    "heart_rate_dropout": "heart rate that fell and came back",
    "heart_rate_held": "heart rate that stood still",
    "heart_rate_start": "heart rate found only after a while",
    "cadence_lock": "heart rate that followed the steps",
    "standing_pause": "heart rate of long stops",
    # kept
    "known": "known from an earlier upload",
    "partly_walked": "walked in part",
    "sport_inferred": "the file names no sport; taken for a run by its name, its speed and steps, or what you said",
}


def summarise(outlines: Sequence[Outline], dataset: Dataset) -> ReportSummary:
    """Counts over all workouts and files of a dataset, in one pass; `outlines` are those of its listed workouts."""
    verdicts = Counter(outline.verdict for outline in outlines)
    verdicts["dropped"] += dataset.unlisted_workouts
    splits = Counter(outline.split for outline in outlines)
    starts = [outline.started_at for outline in outlines if outline.started_at is not None]
    return ReportSummary(
        workouts=len(outlines) + dataset.unlisted_workouts,
        verdicts={verdict: verdicts[verdict] for verdict in VERDICTS},
        reasons=[*_reasons(outlines, dataset.min_hr_per_minute), *_unlisted(dataset)],
        splits={split: splits[split] for split in SPLITS},
        other_sports=dict(Counter(outline.sport for outline in outlines if _is_other_sport(outline)).most_common()),
        files=dataset.file_count,
        files_with_problems=dataset.problem_count,
        first_started_at=min(starts, default=None),
        last_started_at=max(starts, default=None),
    )


def _unlisted(dataset: Dataset) -> Iterator[ReasonCount]:
    if dataset.unlisted_workouts:
        yield ReasonCount(
            verdict="dropped",
            code="not_listed",
            sentence=sentence("not_listed", "", minimum=dataset.min_hr_per_minute),
            workouts=dataset.unlisted_workouts,
            samples=0,
        )


def _is_other_sport(outline: Outline) -> bool:
    """Rows from before sports were told apart all say running."""
    first = outline.reasons[0]["code"] if outline.reasons else None
    return (outline.verdict, first) == ("dropped", "not_running") and outline.sport != "running"


def _reasons(outlines: Sequence[Outline], min_hr_per_minute: float) -> list[ReasonCount]:
    """Most frequent first. A dropped workout counts once, for the first reason: the others are repairs of it."""
    workouts: Counter[tuple[str, str]] = Counter()
    samples: Counter[tuple[str, str]] = Counter()
    messages: dict[tuple[str, str], str] = {}
    for outline in outlines:
        for reason in outline.reasons[:1] if outline.verdict == "dropped" else outline.reasons:
            key = outline.verdict, reason["code"]
            workouts[key] += 1
            samples[key] += reason["samples"]
            messages.setdefault(key, reason["message"])
    return [
        ReasonCount(
            verdict=verdict,
            code=code,
            sentence=sentence(code, messages[verdict, code], minimum=min_hr_per_minute),
            workouts=count,
            samples=samples[verdict, code],
        )
        for (verdict, code), count in workouts.most_common()
    ]


def sentence(code: str, message: str, *, minimum: float) -> str:
    """A reason for many workouts at once; `message` is that of one, `minimum` the readings a minute that are needed."""
    return SENTENCES[code].format(minimum=minimum) if code in SENTENCES else message
