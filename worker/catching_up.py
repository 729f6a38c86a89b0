"""After a job: versions of its subject that do not serve are evaluated on the newest workouts, where the job left them
behind. Until then such a version would serve with the person's state after the dataset before.
"""  # fmt: skip

from contextlib import suppress
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.scale import SubjectScale
from service.registry import datasets, imports, model_versions
from service.registry.tables import Dataset, ModelVersion, Subject
from worker.data import StoredPerson, load_checkpoint
from worker.failures import JobFailure
from worker.import_scoring import Candidates
from worker.reporter import Context, HandBack
from worker.scoring import evaluate_person

log = structlog.get_logger(__name__)


def catch_up(context: Context, subject_id: UUID) -> None:
    """Bring the subject's versions that may serve up to the newest dataset. It belongs to no job: an import that ends
    meanwhile makes it worthless, and a worker that shuts down leaves it to the subject's next job.
    """  # fmt: skip
    with context.database.reading() as session:
        newest = datasets.newest_ready(session, subject_id)
        if newest is None or newest.level is None:
            return
        candidates = Candidates.of(context, newest.account_id, subject_id)
        behind = [
            version
            for version in (*candidates.serving, *candidates.before, *candidates.idle)
            if model_versions.person_state(session, subject_id, version.id, newest.id) is None
        ]
        stored = imports.stored_workouts(session, newest.id) if behind else []

    def stop_with_the_worker(_share: float = 0.0) -> None:
        if context.stopping():
            raise HandBack

    person = StoredPerson(context.store, newest.account_id, stored, stop_with_the_worker)
    level = SubjectScale.from_dict(newest.level)
    for version in behind:
        with suppress(JobFailure, HandBack, IntegrityError):  # files that are lost, a version deleted meanwhile
            checkpoint = load_checkpoint(context.store, version)
            data = person.data(level).for_evaluation(checkpoint)
            result = evaluate_person(Predictor(checkpoint), data, stop_with_the_worker)
            with context.database.unit_of_work() as session:
                if _is_still_newest(session, newest, version):
                    result.store(session, subject_id, version.id, newest.id)
                    log.info("caught up", version=str(version.id), dataset=str(newest.id))


def _is_still_newest(session: Session, dataset: Dataset, version: ModelVersion) -> bool:
    """Whether the evaluation still counts: no later dataset, and the version is there."""
    session.get(Subject, dataset.subject_id, with_for_update=True)  # an import that ends now waits, or is seen
    newest = datasets.newest_ready(session, dataset.subject_id) if dataset.subject_id else None
    return newest is not None and newest.id == dataset.id and session.get(ModelVersion, version.id) is not None
