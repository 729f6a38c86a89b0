from datetime import UTC, datetime, timedelta

import pytest

from hrmodel.workouts.cleaning.duplicates import Extent
from service.registry.imports import ImportedWorkout
from worker.merging import Merged

DAY = datetime(2026, 3, 1, 8, tzinfo=UTC)


def recording(digest, *, day=0, minutes=40.0, late=0.0, density=60.0, split=None, verdict="kept", **changes):
    return ImportedWorkout(
        digest=digest,
        size=1,
        started_at=DAY + timedelta(days=day, minutes=late),
        duration_s=minutes * 60.0,
        samples=int(minutes * 60),
        source=f"{digest}.gpx",
        split=split,
        verdict=verdict,
        heart_rate_per_minute=density,
        **({"person": None, "reasons": []} | changes),
    )


def extents(*workouts):
    return {
        workout.digest: Extent(
            started_at=workout.started_at,
            seconds=workout.duration_s,
            heart_rate_readings=round(workout.heart_rate_per_minute * workout.duration_s / 60),
            samples=workout.samples,
            source=workout.source,
        )
        for workout in workouts
        if workout.digest
    }


def merge(found, known=()):
    return Merged.of(found, extents(*found), known)


def digests(merged):
    return [workout.digest for workout in merged.kept]


def test_what_was_known_from_before_stays_in_the_subjects_next_dataset():
    known = [recording("old", day=1, split="test"), recording("both", day=2, split="train")]
    merged = merge([recording("both", day=2), recording("new", day=0)], known)
    assert digests(merged) == ["new", "old", "both"]
    assert merged.inherited == {"old": "test", "both": "train"}
    assert [reason["code"] for reason in merged.workouts[1].reasons] == ["known"]
    assert merged.workouts[2].reasons == []


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_recordings_of_one_workout_the_one_with_more_heart_rate_stays(order):
    watch, phone = recording("watch", density=60.0), recording("phone", density=10.0, late=2.0)
    merged = merge([watch, phone][::order])
    assert digests(merged) == ["watch"]
    (dropped,) = (workout for workout in merged.workouts if workout.digest is None)
    assert (dropped.verdict, dropped.source, dropped.reasons[0]["code"]) == ("dropped", "phone.gpx", "duplicate")
    assert "watch.gpx" in dropped.reasons[0]["message"]


def test_a_better_recording_of_a_held_out_workout_is_held_out_too():
    merged = merge([recording("fit", density=60.0)], [recording("gpx", density=10.0, split="test")])
    assert digests(merged) == ["fit"]
    assert merged.inherited == {"fit": "test"}
    assert len(merged.workouts) == 1


def test_a_worse_recording_of_a_known_workout_is_reported_as_dropped():
    merged = merge([recording("gpx", density=10.0)], [recording("fit", density=60.0, split="val")])
    assert digests(merged) == ["fit"]
    assert merged.inherited == {"fit": "val"}
    assert [workout.verdict for workout in merged.workouts].count("dropped") == 1


def test_a_recording_that_joins_two_known_ones_is_held_out_when_one_of_them_was():
    known = [
        recording("first", minutes=30.0, density=10.0, split="train"),
        recording("second", minutes=30.0, late=40.0, density=10.0, split="test"),
    ]
    merged = merge([recording("whole", minutes=75.0, density=60.0)], known)
    assert merged.inherited["whole"] == "test"


def test_two_people_at_the_same_time_are_two_workouts():
    merged = merge([recording("a", person="anna"), recording("b", person="ben")])
    assert sorted(digests(merged)) == ["a", "b"]


def test_a_workout_that_was_taken_over_twice_says_so_once():
    once = merge([], [recording("old", split="train")]).workouts
    (twice,) = merge([], once).workouts
    assert [reason["code"] for reason in twice.reasons] == ["known"]
