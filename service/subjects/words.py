"""Explains in plain sentences, from stored rows, why a version serves a subject and what is missing."""

from collections.abc import Sequence
from typing import Any

from hrmodel.evaluation.promotion import MIN_TEST_WORKOUTS
from hrmodel.training.stages import stages_after
from hrmodel.workouts.splits import MIN_WORKOUTS
from service.registry.standing import Standing
from service.registry.tables import PERSONAL_STAGES, ChampionReason, DatasetState, JobState, Stage

CHANCE = "the difference could be chance"


def why(standing: Standing) -> str:
    """The champion and why it serves, later candidates, the error of each (bpm), and what to do next."""
    parts = (_serves(standing), _tried(standing), _errors(standing), _mean_guess(standing), _next_step(standing))
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)


def _serves(standing: Standing) -> str:
    if standing.stage is None or standing.change is None:
        return "no model serves yet"
    serves, before = f"{_name(standing.stage)} serves", _before(standing)
    decision = standing.change.decision or {}
    match standing.change.reason:
        case ChampionReason.PROMOTED:
            return f"{serves}: {_verdict(decision, before)}"
        case ChampionReason.MANUAL:
            return f"{serves} because it was promoted by hand: {_verdict(decision, before)}"
        case ChampionReason.FORCED:
            return f"{serves} because it was promoted by force over {before}: {_verdict(decision, before)}"
        case ChampionReason.ROLLBACK:
            return f"{serves} because {before} was rolled back"
        case ChampionReason.DELETED:
            return f"{serves} because the model that served before was deleted with its data"
        case ChampionReason.DAMAGED:
            return f"{serves} because the file of {before} is missing or damaged; train it again"
    return f"{serves} because {_not_beaten(standing)}" if standing.rejected else serves


def _tried(standing: Standing) -> str:
    """What did not replace the version that serves, unless the first sentence says it."""
    first = standing.change is not None and standing.change.reason == ChampionReason.FIRST
    return "" if first or standing.rejected is None else _not_beaten(standing)


def _not_beaten(standing: Standing) -> str:
    assert standing.rejected is not None
    name = _name(standing.rejected.stage)
    name = f"a newer {name}" if standing.rejected.stage == standing.stage else name
    return f"{name} did not beat it: {_verdict((standing.rejected.result or {})['decision'], 'it')}"


def _before(standing: Standing) -> str:
    if standing.before is None:
        return "the model that served before"
    name = _name(standing.before)
    return f"an earlier {name}" if standing.before == standing.stage else name


def _verdict(decision: dict[str, Any], champion: str) -> str:
    """What a stored decision says of its candidate, "it". The stored difference is candidate minus rival, bpm."""
    difference, workouts = decision.get("difference"), decision.get("test_workouts")
    if workouts is None:
        return "the two were not scored on the same test workouts"
    if workouts < MIN_TEST_WORKOUTS:
        return f"they have {_count(workouts, 'test workout')} in common, and {MIN_TEST_WORKOUTS} are needed to tell"
    if difference is None:
        return "an error is missing, because no test workout is long enough or a model failed on one"
    ends = decision.get("interval") or []
    over = f"on {_count(workouts, 'test workout')}{f'; {CHANCE}' if ends and ends[0] <= 0 <= ends[1] else ''}"
    if difference < 0:
        return f"it beats {champion} by {_bpm(-difference)} bpm{_interval([-end for end in reversed(ends)])} {over}"
    return f"its error is {_bpm(difference)} bpm higher{_interval(ends)} {over}"


def _interval(ends: Sequence[float]) -> str:
    """Two ends in bpm, rounded; 0 has no sign."""
    return f" [{', '.join(f'{round(end, 2) + 0.0:.2f}' for end in ends)}]" if ends else ""


def _errors(standing: Standing) -> str:
    if standing.evaluation is None or len(standing.errors) < 2:
        return ""
    errors = [f"{_name(stage)} {standing.errors[stage]:.2f}" for stage in Stage if stage in standing.errors]
    workouts = standing.evaluation.report["test_workouts"]
    return f"errors on {_count(workouts, 'test workout')}: {', '.join(errors)} bpm"


def _mean_guess(standing: Standing) -> str:
    """The plain error without any heart rate known (P1), beside the simplest baseline."""
    report = standing.evaluation.report if standing.evaluation else {}
    own = report.get("protocols", {}).get("P1", {}).get("mean", {}).get("mae")
    mean = report.get("baselines", {}).get("training_mean", {}).get("P1", {}).get("mae")
    if own is None or mean is None:
        return ""
    return (
        f"with no heart rate known it is off by {own:.1f} bpm on your test workouts; "
        f"always guessing your mean would be off by {mean:.1f}"
    )


def _next_step(standing: Standing) -> str:
    job, dataset = standing.job, standing.dataset
    if job and job.state in (JobState.QUEUED, JobState.RUNNING):
        return f"{_name(job.stage)} is {'being trained' if job.state == JobState.RUNNING else 'waiting to be trained'}"
    if job and job.state == JobState.FAILED:
        return f"the newest {_name(job.stage)} failed: {(job.error_message or '').rstrip('.')}"
    untrained = (job is None or job.state == JobState.CANCELLED) and not standing.rejected
    personal = standing.stage is not None and standing.stage.personal
    if untrained and not personal and not _rolled_back(standing):
        return _missing(standing)
    following = stages_after(job.stage) if job and dataset else []
    for stage in (Stage(name) for name in following if name not in (standing.stage, *standing.errors)):
        return f"{stage.label} was not trained yet; it comes next"
    return ""


def _missing(standing: Standing) -> str:
    """The next step towards a personal model, if one is missing."""
    dataset = standing.dataset
    if dataset is None:
        return "there are no workouts; upload some"
    if dataset.state == DatasetState.FAILED:
        return f"the import of the workouts failed: {(dataset.error_message or '').rstrip('.')}"
    if dataset.state != DatasetState.READY:
        return "the workouts are being imported"
    workouts = dataset.train_workouts + dataset.val_workouts + dataset.test_workouts
    if workouts < MIN_WORKOUTS:
        more = MIN_WORKOUTS - workouts
        needed = f"{more} more {'is' if more == 1 else 'are'} needed for a personal model"
        return f"{_count(workouts, 'workout')}; {needed}; what you upload next is added"
    if dataset.test_workouts < MIN_TEST_WORKOUTS:
        needed = f"{MIN_TEST_WORKOUTS} are needed to tell whether a personal model is better"
        return f"{_count(dataset.test_workouts, 'test workout')}; {needed}"
    return f"nothing was trained for you yet; {PERSONAL_STAGES[0].label} comes first"


def _name(stage: Stage) -> str:
    """What a sentence calls the version of a stage."""
    return stage.label if stage.personal else f"the {stage.label} model"


def _rolled_back(standing: Standing) -> bool:
    return standing.change is not None and standing.change.reason == ChampionReason.ROLLBACK


def _bpm(gap: float) -> str:
    return f"{gap:.2f}" if gap >= 0.005 or gap == 0 else "less than 0.01"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
