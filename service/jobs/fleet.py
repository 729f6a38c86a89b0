"""Fleets: many people personalised by one request."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.training.stages import recipe_name
from service.errors import Conflict, FieldError, NotFound, Unprocessable
from service.jobs.fleet_schemas import MAX_PEOPLE, FleetJobCreate
from service.jobs.schemas import JobRead
from service.jobs.service import Submission, check_dataset, configure, find_base, submit_once
from service.registry import fleets, quotas
from service.registry.tables import Dataset, Job, Stage


def submit(request: Submission, body: FleetJobCreate) -> JobRead:
    """Queue the jobs of many people. Raises NotFound, Conflict, Unprocessable or TooManyRequests."""
    return submit_once(request, lambda: _add(request, body))


def _add(request: Submission, body: FleetJobCreate) -> Job:
    session, account_id = request.session, request.account_id
    stages = [Stage(stage) for stage in body.stages]
    base = find_base(session, account_id, stages[0], body.base_model_version_id)
    datasets, skipped = _datasets(session, account_id, body, stages[0])
    quotas.check_jobs(session, account_id, request.max_jobs, more=len(datasets) * len(stages))
    configured: dict[tuple[Stage, int], dict[str, Any]] = {}  # many people have equally many workouts
    people = []
    for dataset in datasets:
        workouts = dataset.train_workouts
        for stage in stages:
            if (stage, workouts) not in configured:
                configured[stage, workouts] = configure(stage, body.recipe, body.hyperparameters, workouts)
        people.append((dataset, {stage: configured[stage, workouts] for stage in stages}))
    unchanged = 0
    if body.subjects == "all":  # named people are trained again
        trainings = fleets.trained(session, account_id, [dataset for dataset, _ in people])
        new = [person for person in people if not _is_trained(trainings, *person, base)]
        unchanged, people = len(people) - len(new), new
    about = {"recipe": body.recipe, "stages": body.stages, "people": len(people), "skipped": skipped + unchanged}
    about["unchanged"] = unchanged
    hyperparameters = body.hyperparameters.model_dump(exclude_none=True)
    return fleets.add(
        session, account_id, people, start_model_version_id=base, configuration={**about, **hyperparameters}
    )


def _is_trained(
    trainings: fleets.Trained, dataset: Dataset, configurations: Mapping[Stage, dict[str, Any]], base: UUID
) -> bool:
    """Whether every stage was, or is about to be, trained on the same workouts in the same way, from the same base."""
    first = next(iter(configurations))  # the only stage that starts from the base itself
    return all(
        any(
            _with_present_recipe(trained) == configuration and (stage != first or start == base)
            for trained, start in trainings.get((dataset.subject_id, fleets.content(dataset), stage), [])
        )
        for stage, configuration in configurations.items()
    )


def _with_present_recipe(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, its recipe under the present name."""
    return {**configuration, "recipe": recipe_name(configuration.get("recipe", ""))}


def _datasets(session: Session, account_id: UUID, body: FleetJobCreate, first: Stage) -> tuple[list[Dataset], int]:
    """A dataset per person, and how many people were skipped."""
    if (body.dataset_ids is None) == (body.subjects is None):
        places = [FieldError("/dataset_ids", "or /subjects must be given, not both")]
        raise Unprocessable("invalid_request", "Send either dataset_ids or subjects.", places)
    if body.subjects == "all":
        return _all_people(session, account_id)
    if body.subjects is not None:
        return _named(session, account_id, body.subjects, first), 0
    return _of_datasets(session, account_id, body.dataset_ids or [], first), 0


def _all_people(session: Session, account_id: UUID) -> tuple[list[Dataset], int]:
    newest = fleets.newest_of_subjects(session, account_id, None)
    ready = [dataset for dataset in newest.values() if dataset and dataset.train_workouts and dataset.val_workouts]
    if not ready:
        raise Conflict("nobody_to_train", "Nobody has a ready dataset with enough workouts yet; upload some first.")
    if len(ready) > MAX_PEOPLE:
        message = f"are {len(ready)} people; a fleet takes {MAX_PEOPLE}: name them, in several fleets"
        raise Unprocessable("invalid_request", f"All {message}.", [FieldError("/subjects", message)])
    return ready, len(newest) - len(ready)


def _named(session: Session, account_id: UUID, names: Sequence[str], first: Stage) -> list[Dataset]:
    newest, datasets = fleets.newest_of_subjects(session, account_id, names), []
    for place, name in enumerate(names):
        pointer = f"/subjects/{place}"
        if name not in newest:
            raise NotFound("subject_not_found", "There is no such subject.", [FieldError(pointer, "is not there")])
        dataset = newest[name]
        if dataset is None:
            places = [FieldError(pointer, "has no ready dataset")]
            raise Conflict("dataset_not_ready", "A person has no dataset that is ready.", places)
        check_dataset(dataset, first, pointer)
        datasets.append(dataset)
    _refuse_twice(datasets, "/subjects")
    return datasets


def _of_datasets(session: Session, account_id: UUID, ids: Sequence[UUID], first: Stage) -> list[Dataset]:
    by_id, datasets = fleets.by_id(session, account_id, ids), []
    for place, dataset_id in enumerate(ids):
        pointer = f"/dataset_ids/{place}"
        if dataset_id not in by_id:
            places = [FieldError(pointer, "does not exist")]
            raise NotFound("dataset_not_found", f"There is no personal dataset {dataset_id}.", places)
        check_dataset(by_id[dataset_id], first, pointer)
        datasets.append(by_id[dataset_id])
    _refuse_twice(datasets, "/dataset_ids")
    return datasets


def _refuse_twice(datasets: Sequence[Dataset], pointer: str) -> None:
    """Two jobs of one person at the same time would only wait for each other."""
    seen = set()
    for place, dataset in enumerate(datasets):
        if dataset.subject_id in seen:
            places = [FieldError(f"{pointer}/{place}", "is a person who is there already")]
            raise Unprocessable("invalid_request", "Each person may be there once.", places)
        seen.add(dataset.subject_id)
