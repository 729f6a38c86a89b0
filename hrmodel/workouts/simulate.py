"""Simulated runners: physiology simple enough to read, rich enough that a network must use history and hills.

Heart rate follows an effective flat speed (the energy cost of slopes is Minetti et al. 2002, J Appl Physiol 93:1039)
through a delay and a first-order response with its own time constant up and down, plus a slow warm-up, cardiac drift,
an offset of the day that carries over to the next days (AR(1)), and the sensor's noise and gaps.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hrmodel.workouts.running import COST_ON_SLOPE, FLAT_COST
from hrmodel.workouts.workout import Array, Workout

SAMPLE_SECONDS = 5.0
FIRST_DAY = datetime(2024, 1, 1, 6, tzinfo=UTC)
DAYS_BETWEEN = 2
PROGRAMS = ("easy", "easy", "progression", "intervals", "hills")


@dataclass(frozen=True, kw_only=True)
class Physiology:
    """One simulated person."""

    resting: float  # bpm
    maximum: float  # bpm
    easy_speed: float  # m/s
    easy_heart_rate: float  # bpm after minutes at easy speed on the flat
    slope: float  # bpm per m/s of effective speed
    seconds_up: float  # time constant of a rising heart rate
    seconds_down: float
    delay: int  # samples
    drift: float  # bpm gained over half an hour after the first ten minutes
    warm_up: float  # bpm missing at the start
    warm_up_seconds: float
    day_deviation: float  # bpm
    day_memory: float  # correlation of one day's offset with the next
    noise: float  # bpm
    hilliness: float  # usual slope as a fraction


def simulate_workouts(*, people: int, workouts: int, seed: int) -> list[Workout]:
    """`workouts` runs of 25..60 min of each of `people` persons s000, s001, ...; two days apart, a sample every 5 s.

    A person depends on the seed and their own number only, a run's course also on its number only.
    """
    return [workout for person in range(people) for workout in _simulate_person(person, workouts, seed)]


def simulate_runner(*, workouts: int = 40, seed: int = 0) -> list[Workout]:
    """One person's runs in time order, for the demo and for tests."""
    return simulate_workouts(people=1, workouts=workouts, seed=seed)


def _simulate_person(person: int, workouts: int, seed: int) -> list[Workout]:
    # numbers from 1 up: numpy seeds [1, 2] and [1, 2, 0] with the same stream
    body = _draw_physiology(np.random.default_rng([seed, person, 1]))
    day_rng = np.random.default_rng([seed, person, 2])
    offset = body.day_deviation * day_rng.standard_normal()
    made = []
    for number in range(workouts):
        rng = np.random.default_rng([seed, person, 3, number])
        made.append(_simulate_workout(body, offset, f"s{person:03d}", number, rng))
        fresh = body.day_deviation * np.sqrt(1 - body.day_memory**2) * day_rng.standard_normal()
        offset = body.day_memory * offset + fresh
    return made


def _draw_physiology(rng: Generator) -> Physiology:
    resting, maximum = float(np.clip(rng.normal(56, 7), 40, 75)), float(np.clip(rng.normal(188, 8), 170, 208))
    return Physiology(
        resting=resting,
        maximum=maximum,
        easy_speed=float(np.clip(rng.normal(2.75, 0.3), 2.1, 3.6)),
        easy_heart_rate=resting + (maximum - resting) * rng.uniform(0.6, 0.76),
        slope=rng.uniform(14, 28),
        seconds_up=rng.uniform(20, 60),
        seconds_down=rng.uniform(25, 60),
        delay=int(rng.integers(1, 5)),
        drift=rng.uniform(2, 10),
        warm_up=rng.uniform(4, 16),
        warm_up_seconds=rng.uniform(120, 400),
        day_deviation=rng.uniform(4, 10),
        day_memory=rng.uniform(0.3, 0.85),
        noise=rng.uniform(1, 3.5),
        hilliness=rng.uniform(0.002, 0.025),
    )


def _simulate_workout(body: Physiology, offset: float, person: str, number: int, rng: Generator) -> Workout:
    program = PROGRAMS[rng.integers(len(PROGRAMS))]
    t = np.arange(0.0, 60.0 * rng.uniform(25, 60), SAMPLE_SECONDS)
    target = body.easy_speed * _pace_program(program, t, rng)
    slope = _slopes(target, body.hilliness * (2.5 if program == "hills" else 1.0), rng)
    cost = COST_ON_SLOPE(slope) / FLAT_COST
    speed = target / (1 + 0.6 * (cost - 1))  # slower uphill, but not by so much that the effort stays even
    climbed = np.cumsum(slope * speed) * SAMPLE_SECONDS
    heart_rate = _respond(body, _demand(body, speed * cost, t, offset), rng)
    heart_rate = np.round(heart_rate + _wander(len(t), body.noise, 40.0, rng))
    _lose_contact(heart_rate, rng)
    recorded = _without_pause(t, rng)
    return Workout(
        t=t[recorded],
        speed=np.maximum(speed + 0.08 * rng.standard_normal(len(t)) * (speed > 0), 0.0)[recorded],
        altitude=(100.0 + climbed + 0.2 * rng.standard_normal(len(t)))[recorded],
        heart_rate=heart_rate[recorded],
        started_at=FIRST_DAY + timedelta(days=DAYS_BETWEEN * number),
        person=person,
        source=f"simulated {person} {number:03d}",
    )


def _pace_program(program: str, t: Array, rng: Generator) -> Array:
    """(N,) share of the easy speed over the workout."""
    share = rng.uniform(0.9, 1.05) * (1 + _wander(len(t), 0.05, 60.0, rng))
    if program == "progression":
        share *= np.linspace(0.92, rng.uniform(1.15, 1.35), len(t))
    if program == "intervals":
        hard, rest = rng.uniform(60, 240), rng.uniform(60, 180)
        since, end = t - 600.0, t[-1] - 300.0
        repeating = (since >= 0) & (t < end)
        is_hard = (since % (hard + rest)) < hard
        share = np.where(repeating, share * np.where(is_hard, rng.uniform(1.2, 1.4), rng.uniform(0.4, 0.75)), share)
    for _ in range(rng.poisson(1.0)):  # red lights
        begin = rng.uniform(120, t[-1])
        share[(t >= begin) & (t < begin + rng.uniform(15, 60))] = 0.0
    return np.maximum(share, 0.0)


def _slopes(speed: Array, usual: float, rng: Generator) -> Array:
    """(N,) slope of the road at each sample: hills of 200..3000 m length, in sum `usual` large."""
    distance = np.cumsum(speed) * SAMPLE_SECONDS
    lengths, phases = np.exp(rng.uniform(np.log(200), np.log(3000), 6)), rng.uniform(0, 2 * np.pi, 6)
    waves = np.sin(2 * np.pi * distance[:, None] / lengths + phases).sum(axis=1)
    slopes: Array = np.clip(usual * waves / np.sqrt(3), -0.2, 0.2)
    return slopes


def _demand(body: Physiology, effective_speed: Array, t: Array, offset: float) -> Array:
    """(N,) bpm that this effort leads to if kept up, bent below the person's maximum."""
    steady = body.easy_heart_rate + body.slope * (effective_speed - body.easy_speed)
    drift = body.drift * np.clip((t - 600.0) / 1800.0, 0.0, 1.5)
    warm_up = -body.warm_up * np.exp(-t / body.warm_up_seconds)
    target = np.maximum(steady + drift + warm_up + offset, body.resting + 15.0)
    return body.maximum - 6.0 * np.logaddexp(0.0, (body.maximum - target) / 6.0)


def _respond(body: Physiology, demand: Array, rng: Generator) -> Array:
    """(N,) bpm: the delayed first-order response, from a start between rest and a brisk walk."""
    delayed = np.concatenate([np.full(body.delay, demand[0]), demand])[: len(demand)].tolist()
    up, down = (1 - np.exp(-SAMPLE_SECONDS / tau) for tau in (body.seconds_up, body.seconds_down))
    heart_rate = body.resting + rng.uniform(15, 45)
    response = []
    for target in delayed:
        heart_rate += (up if target > heart_rate else down) * (target - heart_rate)
        response.append(heart_rate)
    return np.array(response)


def _wander(samples: int, deviation: float, seconds: float, rng: Generator) -> Array:
    """(N,) noise of this deviation that forgets itself with this time constant."""
    keep = np.exp(-SAMPLE_SECONDS / seconds)
    value = deviation * rng.standard_normal()
    path = []
    for shock in (deviation * np.sqrt(1 - keep**2) * rng.standard_normal(samples)).tolist():
        value = keep * value + shock
        path.append(value)
    return np.array(path)


def _lose_contact(heart_rate: Array, rng: Generator) -> None:
    """The sensor goes silent for 10..90 s, now and then."""
    for _ in range(rng.poisson(0.4)):
        begin = int(rng.integers(len(heart_rate)))
        heart_rate[begin : begin + int(rng.integers(2, 19))] = np.nan


def _without_pause(t: Array, rng: Generator) -> NDArray[np.bool_]:
    """(N,) mask: one run in twelve was paused for 70..200 s."""
    if rng.random() > 1 / 12:
        return np.ones(len(t), dtype=bool)
    begin = rng.uniform(300, t[-1] - 300)
    recorded: NDArray[np.bool_] = (t < begin) | (t > begin + rng.uniform(70, 200))
    return recorded
