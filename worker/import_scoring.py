"""The evaluations at the end of an import: of the versions that serve or may serve next, on the subject's workouts."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from hrmodel.evaluation import stored_history
from hrmodel.evaluation.forecasters import EvaluationData
from hrmodel.evaluation.history import EvaluatedHistory
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.scale import SubjectScale
from service.registry import model_versions, promotion
from service.registry.tables import ModelVersion, Phase
from worker.data import PersonData, StoredPerson, load_checkpoint, load_serving
from worker.failures import JobFailure
from worker.growing import Growth
from worker.reporter import Context, Reporter
from worker.scoring import EvaluationResult, evaluate_growth, evaluate_person

REPLAYED = 4  # newest versions of a subject beside the serving versions: for a promotion


@dataclass(eq=False)
class ImportScoring:
    """Evaluates one version after the other on the workouts of a new dataset.

    `growth`: what they add to the dataset before; None: all is evaluated from the first workout on.
    """

    reporter: Reporter
    subject_id: UUID
    person: StoredPerson
    growth: Growth | None
    level: SubjectScale = field(init=False)

    def __post_init__(self) -> None:
        """Fit the level, unless that of the dataset before stays."""
        self.level = self.growth.level if self.growth else self._read_all().level

    def results(self, account_id: UUID) -> Iterator[tuple[ModelVersion, EvaluationResult]]:
        """The base, the champion and the version before it always; the newest other versions where that costs only
        what is new. The others wait: see `worker.catching_up`.
        """  # fmt: skip
        candidates = Candidates.of(self.reporter.context, account_id, self.subject_id)
        others = [*candidates.before, *candidates.idle]
        self.reporter.enter(Phase.SCORING, len(candidates.serving) + len(others))
        for done, version in enumerate(candidates.serving):
            checkpoint = load_serving(self.reporter.context.database, self.reporter.context.store, version)
            yield version, self._go_on(version, checkpoint, done) or self._anew(checkpoint, done)
        for done, version in enumerate(others, start=len(candidates.serving)):
            with suppress(JobFailure):  # its file is lost: nothing depends on it now
                checkpoint = load_checkpoint(self.reporter.context.store, version)
                result = self._go_on(version, checkpoint, done)
                if result is None and version in candidates.before:
                    result = self._anew(checkpoint, done)
                if result is not None:
                    yield version, result

    def _read_all(self) -> PersonData:
        self.reporter.enter(Phase.MERGING, len(self.person.digests))
        for digest in self.person.digests:
            self.person.find(digest)
            self.reporter.advance()
        return self.person.data()

    def _go_on(self, version: ModelVersion, checkpoint: Checkpoint, done: int) -> EvaluationResult | None:
        """From what the version's evaluation on the dataset before kept; None when it kept nothing."""
        growth = self.growth
        history = self._history(version, growth.before) if growth else None
        if growth is None or history is None:
            return None
        data = EvaluationData(**self.person.splits(growth.new), level=checkpoint.level or self.level)
        return evaluate_growth(Predictor(checkpoint), history, data, self.person.find, self._share(done))

    def _anew(self, checkpoint: Checkpoint, done: int) -> EvaluationResult:
        data = self.person.data(self.level).for_evaluation(checkpoint)
        return evaluate_person(Predictor(checkpoint), data, self._share(done))

    def _share(self, done: int) -> Callable[[float], None]:
        """What hears of the share of one version's evaluation, after so many others."""
        return lambda share: self.reporter.advance(done + share)

    def _history(self, version: ModelVersion, dataset_id: UUID) -> EvaluatedHistory | None:
        with self.reporter.context.database.reading() as session:
            kept = model_versions.evaluated_history(session, self.subject_id, version.id, dataset_id)
        with suppress(ValueError):  # of a release with other measures
            return stored_history.from_bytes(kept) if kept else None
        return None


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The versions that an evaluation of a subject is of interest for, each once."""

    serving: list[ModelVersion]  # the base, which may serve at any time, and the champion
    before: list[ModelVersion]  # the one that a roll back goes to, if any
    idle: list[ModelVersion]  # the newest others

    @staticmethod
    def of(context: Context, account_id: UUID, subject_id: UUID) -> "Candidates":
        """As the registry has them now."""
        with context.database.reading() as session:
            serving = [promotion.default_base(session, account_id)]
            champion = promotion.current(session, subject_id)
            if champion is not None and champion.model_version_id != serving[0].id:
                serving.append(session.get_one(ModelVersion, champion.model_version_id))
            before = promotion.earlier_versions(session, champion)[:1] if champion else []
            idle = model_versions.newest(session, subject_id, REPLAYED)
        before = [version for version in before if version not in serving]
        idle = [version for version in idle if version not in (*serving, *before)]
        return Candidates(serving=serving, before=before, idle=idle)
