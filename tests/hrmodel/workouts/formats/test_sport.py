import numpy as np
import pytest

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.sport import decide, decided, sport_called, sport_in_name
from hrmodel.workouts.gait import both_feet, gait_of
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.workout import Workout
from tests.shared_data import more_parquet

RUNNING = {
    "ar": "جري", "bg": "бягане", "ca": "córrer", "cs": "běh", "da": "løb", "de": "Laufen", "el": "τρέξιμο",
    "en": "running", "es": "correr", "et": "jooksmine", "eu": "lasterketa", "fa": "دویدن", "fi": "juoksu",
    "fr": "course à pied", "ga": "ag rith", "gl": "correr", "he": "ריצה", "hi": "दौड़ना", "hr": "trčanje",
    "hu": "futás", "id": "lari", "it": "corsa", "ja": "ランニング", "ko": "달리기", "lt": "bėgimas", "lv": "skriešana",
    "ms": "berlari", "nb": "løping", "nl": "hardlopen", "pl": "bieganie", "pt": "corrida", "ro": "alergare",
    "ru": "бег", "sk": "beh", "sl": "tek", "sr": "трчање", "sv": "löpning", "ta": "இயங்கும்", "th": "วิ่ง",
    "tl": "pagtakbo", "tr": "koşu", "uk": "біг", "vi": "chạy bộ", "zh": "跑步", "zh-TW": "越野跑步",
}  # fmt: skip
CYCLING = {
    "ar": "ركوب الدراجات", "bg": "колоездене", "ca": "ciclisme", "cs": "jízda na kole", "da": "cykling",
    "de": "Radfahren", "el": "ποδηλασία", "es": "ciclismo", "et": "jalgrattasõit", "fa": "دوچرخه‌سواری",
    "fi": "pyöräily", "fr": "vélo", "he": "רכיבה על אופניים", "hr": "biciklizam", "hu": "kerékpározás",
    "id": "bersepeda", "it": "ciclismo", "ja": "サイクリング", "ko": "자전거", "nb": "sykling", "nl": "fietsen",
    "pl": "jazda na rowerze", "pt": "ciclismo", "ro": "ciclism", "ru": "велосипед", "sk": "cyklistika",
    "sl": "kolesarjenje", "sv": "cykling", "th": "ขี่จักรยาน", "tr": "bisiklet sürme", "uk": "велоспорт",
    "vi": "đi xe đạp", "zh": "骑自行车", "zh-TW": "騎自行車",
}  # fmt: skip
WALKING = {
    "cs": "chůze", "da": "gang", "de": "Spaziergang", "es": "caminata", "fi": "kävely", "fr": "marche",
    "it": "camminata", "ja": "ウォーキング", "ko": "걷기", "nl": "wandelen", "pl": "spacer", "pt": "caminhada",
    "ru": "ходьба", "sv": "promenad", "tr": "yürüyüş", "zh": "步行",
}  # fmt: skip
WORDS = {
    "running": "Run TrailRun VirtualRun treadmill_running street_running track_running virtual_run obstacle_run "
    "ultra_run OUTDOOR_RUNNING RUNNING_SPORT run jogging Treadmill 9 RunWalk Waldlauf Laufband løpetur",
    "cycling": "Ride VirtualRide EBikeRide GravelRide Biking road_biking indoor_cycling 1 MTB Handcycle Radtour",
    "walking": "Walk casual_walking indoor_walking treadmill_walking speed_walking 10",
    "hiking": "Hike hiking Wanderung Randonnée Senderismo 4 mountaineering",
    "unknown": "Other generic all Workout training fitness_equipment Sonstiges autre otro другое その他 其他",
}
OTHERS = [
    *("Wheelchair", "wheelchair_push_run", "WheelchairRunPace", "SwimBikeRun", "swimrun", "snowshoe_run", "NordicSki"),
    *("Skilanglauf", "Eislaufen", "skiløb", "Crunches", "Rowing", "Elliptical", "16", "Orienteering", "transition"),
    *("biegi narciarskie", "беговые лыжи", "běh na lyžích", "ски бягане", "tek na smučeh", "Bike/Run"),
]
NAMES = {
    "running": [
        *(
            "Morning Run",
            "Running 5/4/24 8:00 am",
            "Laufen",
            "Morgenlauf",
            "Course à pied le matin",
            "Carrera de mañana",
        ),
        *(
            "Corrida matinal",
            "Ochtendloop",
            "Bieg poranny",
            "朝のランニング",
            "Löpning på morgonen",
            "晨跑",
            "Утренний забег",
        ),
    ],
    "cycling": ["Cycling 5/1/19 7:03 am", "Evening Ride", "Radfahren am Abend", "Sortie vélo le matin", "骑行"],
    "walking": ["Walking 5/1/19 7:03 am", "Morning Walk", "Spaziergang am Abend"],
    "hiking": ["Morning Hike", "Wanderung", "Randonnée"],
    None: ["", "Bike path loop", "2024-05-04", "Zürich", "Around the lake with Tom and his new horse", "Training"],
}


def moving(speed, *, cadence=None, seconds=1500, sport="", uneven=0.0, seed=1):
    """A workout of about this speed; `uneven`: how much it differs from one half minute to the next."""
    t = np.arange(0.0, seconds + 1, 2.0)
    steps = np.random.default_rng(seed).normal(0.0, uneven, seconds // 30 + 2)
    speeds = np.clip(speed + 0.1 * np.sin(t / 30) + steps[(t // 30).astype(int)], 0.6, None)
    cadences = None if cadence is None else np.full(len(t), float(cadence))
    return Workout(
        t=t, speed=speeds, heart_rate=140 + np.round(4 * np.sin(t / 50)), cadence=cadences, sport=sport
    )  # fmt: skip


@pytest.mark.parametrize(("language", "word"), RUNNING.items())
def test_apps_write_running_in_the_languages_of_their_phones(language, word):
    assert [sport_called(each) for each in (word, word.upper(), f" {word} ")] == ["running"] * 3


@pytest.mark.parametrize(
    ("sport", "word"),
    [("cycling", word) for word in CYCLING.values()] + [("walking", word) for word in WALKING.values()],
)
def test_rides_and_walks_are_known_in_other_languages(sport, word):
    assert sport_called(word) == sport


@pytest.mark.parametrize(("sport", "word"), [(sport, word) for sport, words in WORDS.items() for word in words.split()])
def test_devices_and_services_have_words_of_their_own(sport, word):
    assert sport_called(word) == sport


@pytest.mark.parametrize("word", OTHERS)
def test_what_only_sounds_like_running_is_another_sport(word):
    assert sport_called(word) not in ("running", "cycling", "walking", "hiking", "unknown", None)


@pytest.mark.parametrize("word", ["", "unknown", "unbekannt", "不明", "undefined", "Quidditch"])
def test_some_words_say_nothing(word):
    assert sport_called(word) is None


@pytest.mark.parametrize(("sport", "name"), [(sport, name) for sport, names in NAMES.items() for name in names])
def test_a_name_may_tell_the_sport(sport, name):
    assert sport_in_name(name) == sport


def test_the_list_comes_before_the_file_the_file_before_its_name_and_the_name_before_the_caller():
    told = {"listed": "Ride", "name": "Morning Walk", "said": "running"}
    workout = moving(2.8, sport="hiking")
    assert decide(workout, **told).sport == "cycling"
    assert decide(workout, **told | {"listed": ""}).sport == "hiking"
    assert decide(workout, **told | {"listed": "Workout"}).sport == "hiking"
    assert decide(moving(2.8), **told | {"listed": ""}).sport == "walking"
    assert decide(moving(1.3), said="running").sport == "running"
    assert decide(moving(1.3)).sport == "walking"


@pytest.mark.parametrize("word", ["Other", "generic", "all", "Workout"])
def test_a_sport_called_other_is_not_guessed_but_may_be_said(word):
    workout = moving(2.8, cadence=84, sport=word)
    dropped = clean(decided(workout, Source(path="x")))
    assert (dropped.verdict, dropped.reasons[0].code) == ("dropped", "sport_not_named")
    assert all(way in dropped.reasons[0].message for way in (word, "?sport=running", "--sport running"))
    kept = clean(decided(workout, Source(path="x", said_sport="running")))
    assert (kept.verdict, kept.reasons[-1].code) == ("kept", "sport_inferred")


def test_what_the_caller_says_changes_no_sport_that_is_named():
    assert decided(moving(2.8, sport="Biking"), Source(path="x", said_sport="running")).sport == "cycling"


@pytest.mark.parametrize(
    ("workout", "sport"),
    [
        (moving(2.8), "running"),
        (moving(2.8, cadence=84), "running"),
        (moving(5.5, seconds=1800), "running"),  # 10 km in half an hour
        (moving(4.4, uneven=0.8), "cycling"),
        (moving(6.6), "cycling"),  # for longer than anybody can run so fast
        (moving(6.4, cadence=84), "cycling"),
        (moving(1.3), "walking"),
        (moving(1.3, cadence=110), "walking"),
        (moving(1.3, cadence=55), "walking"),
        (moving(1.5, cadence=78), "running"),  # a jog
    ],
)
def test_without_any_word_speed_and_steps_tell(workout, sport):
    found = decided(workout, Source(path="x"))
    assert found.sport == sport
    assert found.sport_source.startswith("its speed")


def test_a_word_of_an_unknown_language_counts_as_none_unless_the_steps_are_a_runners():
    assert decide(moving(2.8, sport="Quidditch")).sport == "unknown"
    assert decide(moving(2.8, cadence=170, sport="Quidditch")).sport == "running"


def test_steps_of_a_runner_are_believed_rather_than_a_name():
    assert decide(moving(2.8, cadence=170), name="Ride to work").sport == "running"
    assert decide(moving(2.8), name="Ride to work").sport == "cycling"


def test_twice_the_turns_of_a_crank_are_no_steps_where_name_and_speed_say_ride():
    assert decide(moving(5.0, cadence=168), name="Cycling 5/1/19 7:03 am").sport == "cycling"


def test_a_list_in_an_unknown_language_may_say_anything():
    assert decide(moving(2.8), listed="Quidditch").sport == "unknown"
    assert decide(moving(2.8, cadence=170), listed="Quidditch").sport == "running"


@pytest.mark.parametrize(
    ("counted", "speed", "steps"),
    [
        (84, 2.8, 168),
        (168, 2.8, 168),
        (78, 1.7, 156),
        (110, 1.3, 110),  # a walk that counts both feet
        (55, 1.3, 110),
        (92, 5.6, 184),
        (180, 5.6, 180),
        (85, 6.6, None),  # turns of a crank
        (60, 5.0, None),
        (84, np.nan, 168),
    ],
)
def test_the_length_of_a_step_tells_one_foot_from_both_and_a_crank_from_feet(counted, speed, steps):
    cadence = both_feet(np.full(100, float(counted)), np.full(100, speed))
    assert (None if cadence is None else cadence[0]) == steps


def test_legs_that_rest_at_speed_are_no_runners():
    t = np.arange(0.0, 1500.0)
    workout = Workout(t=t, speed=np.full(1500, 4.6), cadence=np.where(t % 10 < 2, 0.0, 170.0))
    assert not gait_of(workout).steps_of_a_run


@pytest.mark.parametrize(
    ("workout", "code"),
    [
        (moving(5.4, uneven=1.0, sport="running"), "ride"),
        (moving(6.6, sport="running"), "ride"),
        (moving(1.3, cadence=110, sport="running"), "walk"),
        (moving(1.68, sport="running"), "walk"),
    ],
)
def test_what_is_called_a_run_and_is_none_is_dropped(workout, code):
    cleaned = clean(decided(workout, Source(path="x")))
    assert (cleaned.verdict, cleaned.reasons[0].code) == ("dropped", code)


@pytest.mark.parametrize(
    "workout",
    [
        moving(5.6, seconds=1700),  # a race over 10 km
        moving(4.8, seconds=5000, uneven=0.1),  # a half marathon
        moving(3.4, uneven=0.9, cadence=88),  # fartlek with a foot pod
        moving(3.0, uneven=0.25),
    ],
)
def test_races_and_changes_of_pace_are_runs(workout):
    assert clean(decided(workout, Source(path="x"))).verdict == "kept"


def test_intervals_of_minutes_are_runs_without_a_record_of_steps():
    t = np.arange(0.0, 3000.0, 2.0)
    speed = np.where(t % 300 < 180, 5.2, 2.4)
    workout = Workout(t=t, speed=speed, heart_rate=140 + np.round(4 * np.sin(t / 50)))
    assert clean(decided(workout, Source(path="x"))).verdict == "kept"


@pytest.mark.slow
@pytest.mark.parametrize(("file", "code", "least"), [("rides", "ride", 0.85), ("walks", "walk", 0.95)])
def test_most_recorded_rides_and_walks_are_told_from_runs(file, code, least):
    workouts = list(read_workouts(more_parquet(file)))
    codes = [clean(Workout(**called_a_run(workout))).reasons for workout in workouts]
    found = sum(bool(reasons) and reasons[0].code in (code, "implausible_speed") for reasons in codes)
    assert found >= least * len(workouts)


def called_a_run(workout):
    return {name: getattr(workout, name) for name in ("t", "speed", "altitude", "heart_rate", "cadence")}
