import json
import resource
import time
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import endomondo
from hrmodel.workouts.formats.heads import is_endomondo
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.units import Units
from tests.endomondo_writer import line, write


@pytest.fixture
def read(tmp_path):
    def read_bytes(data, **options):
        path = tmp_path / "some.json"
        path.write_bytes(data)
        return list(endomondo.read(Source(path=path, name=path.name, **options)))

    return read_bytes


@pytest.fixture
def handed_over(tmp_path):
    def read_bytes(data):
        path = tmp_path / "some.json"
        path.write_bytes(data)
        places = []
        try:
            for workout in endomondo.read(Source(path=path, name=path.name)):
                places.append(workout.source)
        except InvalidFile as error:
            return places, error
        raise AssertionError("nothing was refused")

    return read_bytes


@pytest.mark.parametrize("python", [True, False], ids=["as Python prints it", "JSON"])
def test_a_line_is_a_workout_of_a_person_with_its_units(read, python):
    fields = line()
    (workout,) = read(write(fields, python=python))
    assert (workout.person, workout.sport, workout.source) == ("10921915", "running", "workout 396826535")
    assert workout.started_at == datetime(2014, 8, 24, 16, 45, 46, tzinfo=UTC)
    assert workout.t[:4].tolist() == [0, 4, 6, 10]
    np.testing.assert_allclose(workout.speed * 3.6, fields["speed"])
    assert workout.heart_rate.tolist() == fields["heart_rate"]
    assert workout.altitude.tolist() == fields["altitude"]
    assert clean(workout).verdict != "dropped"


def test_without_a_speed_positions_give_it_over_irregular_times(read):
    (workout,) = read(write(line(speed=...)))
    np.testing.assert_allclose(workout.speed, 3.0, rtol=1e-3)


def test_declared_units_are_honoured_where_no_positions_tell(read):
    (workout,) = read(write(line(latitude=..., longitude=...)), units=Units(speed="m/s", altitude="ft"))
    assert workout.speed[0] == 10.8
    assert workout.altitude[0] == pytest.approx(41.6 * 0.3048)


def test_a_derived_speed_is_second_choice(read):
    derived = [9.0] * 400
    (workout,) = read(write(line(speed=..., derived_speed=derived)))
    np.testing.assert_allclose(workout.speed, 2.5)
    (workout,) = read(write(line(derived_speed=derived)))
    assert workout.speed[0] == pytest.approx(3.0)


def test_of_the_processed_variant_only_what_is_not_standardised_is_read(read):
    standardised = [0.1] * 400
    fields = line(speed=..., heart_rate=standardised, altitude=standardised, latitude=standardised)
    fields |= {"derived_speed": standardised, "tar_derived_speed": [9.0] * 400, "tar_heart_rate": [140.0] * 400}
    (workout,) = read(write(fields))
    assert (set(workout.speed), set(workout.heart_rate), workout.altitude) == ({2.5}, {140.0}, None)


def test_people_and_sports_stay_apart(read):
    people = [line(userId=1, id=7), line(userId=2, id=8, sport="mountain bike"), line(userId=..., id=...)]
    workouts = read(write(*people))
    assert [(w.person, w.source, w.sport) for w in workouts] == [
        ("1", "workout 7", "running"),
        ("2", "workout 8", "cycling"),
        (None, "line 3", "running"),
    ]


def test_missing_values_and_quotes_of_python_are_understood(read):
    heart_rate = [None, float("nan"), 100, float("inf"), float("-inf")] + [120] * 395
    fields = line(heart_rate=heart_rate, sport='it\'s a "run"', note="\x00\\", ok=True, nothing=None)
    for python in (True, False):
        (workout,) = read(write(fields, python=python))
        np.testing.assert_array_equal(workout.heart_rate[:5], [np.nan, np.nan, 100, np.nan, np.nan])
        assert workout.sport == "running"
    (workout,) = read(write(line()).replace(b"'heart_rate'", b"u'heart_rate'"))
    assert workout.heart_rate[0] == 120


def test_times_of_a_line_are_sorted_and_the_same_ones_are_one_sample(read):
    times = [1408898746 + s for s in (0, 5, 5, 3, 9)]
    fields = {"timestamp": times, "heart_rate": [100, 101, 102, 103, 104], "speed": [9.0] * 5}
    (workout,) = read(write(fields))
    assert (workout.t.tolist(), workout.heart_rate.tolist(), workout.removed_samples) == (
        [0, 3, 5, 9],
        [100, 103, 101, 104],
        0,
    )


def test_blank_lines_and_a_missing_end_of_line_do_no_harm(read):
    workouts = read(b"\xef\xbb\xbf" + write(line()) + b"\r\n\n" + write(line(id=2)).rstrip())
    assert len(workouts) == 2


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"{'timestamp': [1, 2", "no workout in JSON"),
        (b"[1, 2]", "no workout in JSON"),
        (b"{}", "no times"),
        (b"{'timestamp': []}", "no times"),
        (b"{'timestamp': [None]}", "no time"),
        (b"{'timestamp': [1, 2], 'heart_rate': [100]}", "differ in length"),
        (b"{'timestamp': ['x']}", "no workout in JSON"),
        (b"{'timestamp': [1e300]}", ""),
        (b"{'timestamp': [1e999]}", ""),
        (b"{'timestamp': [1], 'userId': {'a': 1}}", "no workout in JSON"),
        (b"{'a': " + b"[" * 900_000 + b"]" * 900_000 + b"}", "no workout in JSON"),
        (b"{'a': __import__('os').getpid()}", "no workout in JSON"),
        (b"{'timestamp': [" + b"1," * 200_000 + b"1]}", "no workout in JSON"),
        (b"{'timestamp': [" + b"1," * 1_500_000 + b"1]}", "longer than"),
        (b"{'a': '" + b"\\'" * 600_000, "no workout in JSON"),
        (b"{'a': " + b"''" * 1_000_000, "no workout in JSON"),
        (b"{'a': '" + b'"\\' * 600_000, "no workout in JSON"),
        (b"{" + b"@" * 2_000_000, "no workout in JSON"),
        (b"{'a': '\xff\xfe'}", ""),
        (b"\0" * 1000, "no workout in JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_damaged_line_loses_only_itself(handed_over, bad, says):
    began, used = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    places, error = handed_over(write(line(id=1), line(id=2)) + bad + b"\n" + write(line(id=3)))
    assert (places, error.code, error.where) == (["workout 1", "workout 2", "workout 3"], "bad_line", "line 3")
    assert says in error.hint
    assert time.process_time() - began < 10  # 3 s on an idle machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 240_000  # kB


def test_the_first_damaged_line_is_named_and_all_are_counted(handed_over):
    places, error = handed_over(b"{'a': \n" + write(line(id=1)) + b"nonsense\n" * 5)
    assert (places, error.where) == (["workout 1"], "line 1")
    assert "6 lines are damaged in all" in error.hint


def test_a_file_of_nothing_but_damage_is_soon_given_up(handed_over):
    began = time.process_time()
    for data in (b"{\n" * 1_000_000, b"{" + b"x" * 20_000_000, (b"{" + b"''" * 1_000_000 + b"\n") * 30):
        places, error = handed_over(data)
        assert (places, error.code) == ([], "bad_line")
    assert time.process_time() - began < 15  # 5 s is what is wanted; busy machines take longer


def test_a_line_may_be_longer_than_what_is_read_at_once(read):
    points = 20_000
    (workout,) = read(write(line(points=points)) + b"\n")
    assert len(workout.t) == points


def test_an_empty_file_holds_no_workouts(handed_over):
    places, error = handed_over(b"\n \n")
    assert (places, error.code) == ([], "no_workouts")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (write(line()), True),
        (write(line(), python=False), True),
        (b"\xef\xbb\xbf \n" + write(line()), True),
        (write({"gender": "male", "id": 5, "sport": "run", "heart_rate": [100]}), True),
        (write({"longitude": [None, 24.6]}), True),
        (b"{u'since_begin': [0.5, 1.5", True),
        (b"{'heart_rate': 100}", False),
        (b'{"type": "FeatureCollection", "features": []}', False),
        (b'{"id": 5, "name": "a run", "sport": "run"}', False),
        (b'[{"heart_rate": [100]}]', False),
        (b'{"altitude": ["high"]}', False),
        (b"heart_rate: [100]", False),
        (b"", False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_is_known_by_its_first_keys_in_any_order(head, expected):
    assert is_endomondo(head[:4096]) is expected


def test_the_bytes_read_are_told(tmp_path):
    path = tmp_path / "some.json"
    path.write_bytes(write(*[line(id=i) for i in range(20)]))
    told = []
    assert len(list(endomondo.read(Source(path=path, advanced=told.append)))) == 20
    assert sum(told) == path.stat().st_size


VALID = [write(line(points=4), line(points=3, speed=...), python=python) for python in (True, False)]
PIECES = (b"'", b'"', b"\\", b"\n", b"[", b"]", b"{", b"}", b"None", b"nan", b"1e999", b"-", b"\0", b"\xff", b"9" * 400, b"u'", b"\\x4", b"true", b",,")  # fmt: skip
mutation = st.tuples(st.integers(0, 900), st.integers(0, 40), st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)))


ODD = (None, float("nan"), 1e308, -1e308, float("inf"), -1, 0, True, [], {}, "x", 10**30, 253402300800, 0.1)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(sorted(line())), st.integers(-1, 3), st.sampled_from(ODD)), max_size=4),
    st.booleans(),
    st.sampled_from([None, Units(speed="min/km", altitude="ft")]),
)
def test_odd_values_are_read_or_refused(read, changes, python, units):
    fields = line(points=4)
    for name, place, odd in changes:
        if place >= 0 and isinstance(fields[name], list) and len(fields[name]) > place:
            fields[name][place] = odd
        else:
            fields[name] = odd
    with suppress(InvalidFile):
        for workout in read(write(fields, python=python), units=units):
            assert workout.speed.shape == workout.t.shape


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(VALID), st.lists(mutation, max_size=4))
def test_a_mutated_file_is_read_or_refused(tmp_path, data, mutations):
    for start, length, piece in mutations:
        data = data[:start] + piece + data[start + length :]
    path = tmp_path / "some.json"
    path.write_bytes(data)
    with suppress(InvalidFile):
        for workout in endomondo.read(Source(path=path)):
            assert workout.speed.shape == workout.t.shape


def test_strings_of_python_become_those_of_json():
    for text in ("it's", 'say "a"', "both ' and \"", "back\\slash", "\n\t", "\x00\x1f\x7f", "\u00e9 \u4e2d", "\\'"):
        converted = endomondo.TOKEN.sub(endomondo.as_json, repr([text, None, 1e-05, True]).encode())
        assert json.loads(converted) == [text, None, 1e-05, True]
