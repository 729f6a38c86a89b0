"""Clients over real HTTP who never give up: what was accepted with 202 is written down, and must end."""

import random
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx2

from hrmodel.workouts.workout import Workout
from service.cli.demo import write_parquet
from tests.chaos.entry import POISON_SEED
from tests.network_builders import small_workout

CLIENTS = 4
WORKOUTS, STEPS = 8, 62  # 3 to train on, 2 to validate, 3 to test; 10 minutes each
EPOCHS = 4
BLOCK = 20  # jobs of one subject: 1 import, 13 of stage 1, 6 of stage 2
STAGE1 = 13
ANSWER_SECONDS = 4.0
RESENT = 0.15  # share of requests that are sent once more after they were answered
TRY_LATER = {409, 429, 503}
EXPECTED_CODES = {"dataset_not_ready", "changed_meanwhile", "job_finished"}


@dataclass(frozen=True)
class Accepted:
    """A job that the API has promised to end."""

    job_id: UUID
    stage: str
    at: float
    poison: bool = False


@dataclass
class Promises:
    """What the clients were told. Shared by their threads."""

    accepted: list[Accepted] = field(default_factory=list)
    cancels: set[UUID] = field(default_factory=set)  # jobs whose cancellation was asked for
    broken: list[str] = field(default_factory=list)  # answers that should not be
    retries: int = 0
    seconds: list[float] = field(default_factory=list)  # of answered POSTs


class Load:
    """`blocks` subjects with their jobs, spread over `seconds`."""

    def __init__(
        self, url: str, key: str, folder: Path, *, blocks: int, seconds: float, seed: int, epochs: int = EPOCHS
    ) -> None:
        self.url, self.key, self.folder, self.seed, self.epochs = url, key, folder, seed, epochs
        self.blocks, self.seconds = blocks, seconds
        self.promises = Promises()
        self.give_up = threading.Event()
        self._numbers = iter(range(blocks))
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def start(self) -> None:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        with httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=ANSWER_SECONDS,
            trust_env=False,
        ) as http:
            while not self.give_up.is_set():
                with self._lock:
                    number = next(self._numbers, None)
                if number is None:
                    return
                due = self._started + number * self.seconds / self.blocks
                self.give_up.wait(max(0.0, due - time.monotonic()))
                try:
                    Block(self, http, number).submit()
                except Exception as error:  # a client that died would look like less load
                    self.promises.broken.append(f"block {number}: {error!r}")


class Block:
    """One subject: an upload, its stage-1 jobs in pairs of twins, its stage-2 jobs, some poison, some cancelled."""

    def __init__(self, load: Load, http: httpx2.Client, number: int) -> None:
        self.load, self.http, self.number = load, http, number
        self.promises = load.promises
        self.rng = random.Random(f"{load.seed}/{number}")

    def submit(self) -> None:
        dataset = self.post("/datasets", content=self.upload(), params={"subject": f"s{self.number}"})
        self.note(dataset["job_id"], "import")
        for each in range(STAGE1 - 1):
            self.train("stage1", dataset["id"], seed=each // 2)
        poison = self.number % 4 == 3
        for each in range(BLOCK - STAGE1 - 1):
            self.train("stage2", dataset["id"], seed=POISON_SEED if poison and each == 2 else each // 2)
        last = self.train("stage1", dataset["id"], seed=99)  # nothing waits for it
        if self.number % 4 == 1:
            self.cancel(last)

    def upload(self) -> bytes:
        path = self.load.folder / f"{self.number}.parquet"
        first = datetime(2024, 1, 1, tzinfo=UTC)
        workouts = []
        for each in range(WORKOUTS):
            made = small_workout(1000 * self.number + each, steps=STEPS)
            channels = {name: getattr(made, name) for name in ("t", "speed", "altitude", "heart_rate")}
            workouts.append(Workout(**channels, started_at=first + timedelta(days=each)))
        write_parquet(workouts, path)
        return path.read_bytes()

    def train(self, stage: str, dataset_id: str, seed: int) -> UUID:
        numbers = {"epochs": self.load.epochs, "seed": seed, "learning_rate": 0.02}
        job = self.post(f"/jobs/{stage}", json={"dataset_id": dataset_id, "hyperparameters": numbers})
        return self.note(job["id"], stage, poison=seed == POISON_SEED)

    def note(self, job_id: str, stage: str, poison: bool = False) -> UUID:
        self.promises.accepted.append(Accepted(UUID(job_id), stage, time.time(), poison))
        return UUID(job_id)

    def cancel(self, job_id: UUID) -> None:
        self.promises.cancels.add(job_id)  # asked for, even when no answer comes
        self.until_answered(f"/jobs/{job_id}/cancel", (200, 202, 409))

    def post(self, path: str, **content: object) -> dict:
        """Send until it is answered as expected, always with the same key; some once more, which must change nothing."""
        headers = {"Idempotency-Key": f"{uuid4()}"}
        answer = self.until_answered(path, (202,), headers=headers, **content)
        if self.rng.random() < RESENT:
            again = self.until_answered(path, (202,), headers=headers, **content)
            if again["id"] != answer["id"]:
                self.promises.broken.append(f"{path}: the same key made {answer['id']} and {again['id']}")
        return answer

    def until_answered(self, path: str, expected: tuple[int, ...], **request: object) -> dict:
        while not self.load.give_up.is_set():
            began = time.monotonic()
            try:
                response = self.http.post(path, **request)
            except httpx2.TransportError:
                self.wait(0.3)
                continue
            if response.status_code in expected:
                self.promises.seconds.append(time.monotonic() - began)
                return response.json()
            problem = response.json()
            if response.status_code not in TRY_LATER or (
                response.status_code == 409 and problem["code"] not in EXPECTED_CODES
            ):
                self.promises.broken.append(
                    f"{path}: {response.status_code} {problem.get('code')} {problem.get('detail')}"
                )
            self.wait(0.5)
        raise TimeoutError(f"{path} was not accepted before the end")

    def wait(self, seconds: float) -> None:
        self.promises.retries += 1
        self.load.give_up.wait(seconds)
