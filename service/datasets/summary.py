"""A dataset's report in short: how many workouts were kept, repaired and dropped, and why."""

from collections import Counter
from collections.abc import Iterator, Sequence

from service.datasets.schemas import ReasonCount, ReportSummary
from service.datasets.words import sentence
from service.registry.datasets import Outline
from service.registry.tables import Dataset

VERDICTS = ("kept", "repaired", "dropped")
SPLITS = ("train", "val", "test")


def summarise(outlines: Sequence[Outline], dataset: Dataset) -> ReportSummary:
    """Counts over all workouts and files of a dataset, in one pass; `outlines` are those of its listed workouts."""
    verdicts = Counter(one.verdict for one in outlines)
    verdicts["dropped"] += dataset.unlisted_workouts
    splits = Counter(one.split for one in outlines)
    starts = [one.started_at for one in outlines if one.started_at is not None]
    return ReportSummary(
        workouts=len(outlines) + dataset.unlisted_workouts,
        verdicts={verdict: verdicts[verdict] for verdict in VERDICTS},
        reasons=[*_reasons(outlines, dataset.min_hr_per_minute), *_unlisted(dataset)],
        splits={split: splits[split] for split in SPLITS},
        other_sports=dict(Counter(one.sport for one in outlines if _is_other_sport(one)).most_common()),
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


def _is_other_sport(one: Outline) -> bool:
    """Rows from before sports were told apart all say running."""
    first = one.reasons[0]["code"] if one.reasons else None
    return (one.verdict, first) == ("dropped", "not_running") and one.sport != "running"


def _reasons(outlines: Sequence[Outline], min_hr_per_minute: float) -> list[ReasonCount]:
    """Most frequent first. A dropped workout counts once, for the first reason: the others are repairs of it."""
    workouts: Counter[tuple[str, str]] = Counter()
    samples: Counter[tuple[str, str]] = Counter()
    messages: dict[tuple[str, str], str] = {}
    for one in outlines:
        for reason in one.reasons[:1] if one.verdict == "dropped" else one.reasons:
            key = one.verdict, reason["code"]
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
