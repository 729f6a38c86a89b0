import gzip
from zipfile import ZipFile

import pytest

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.formats.activity_lists import listed_sports
from hrmodel.workouts.formats.upload import FileReport, read_upload
from tests import gpx_writer

ENGLISH = "Activity ID,Activity Date,Activity Name,Activity Type,Activity Description,Filename"
GERMAN = "Aktivitäts-ID,Aktivitätsdatum,Name der Aktivität,Aktivitätsart,Aktivitätsbeschreibung,Dateiname,Art"
CATALAN = "ID de l'activitat,Data,Nom,Classe,Descripció,Fitxer"  # a language of which we know no header
FILES = ("activities/1.gpx.gz", "activities/2.gpx", "activities/3.gpx.gz")


def a_list(header, *sports, names=("Morning Run", "Lunch", "Evening"), description=""):
    rows = zip(FILES, names, sports, strict=True)
    lines = [
        f'{n},"May {n}, 2024, 6:30:00 AM",{name},{sport},"{description}",{file}'
        for n, (file, name, sport) in enumerate(rows, 1)
    ]
    return "\n".join([header, *lines, '9,"May 9, 2024",No file,Swim,,']) + "\n"


def sports_of(text, names=(*FILES, "activities.csv"), encoding="utf-8"):
    return listed_sports(names, lambda _: text.encode(encoding))


@pytest.mark.parametrize(
    ("header", "sports"),
    [
        (ENGLISH, ("Run", "Ride", "Trail Run")),
        ("id,date,name,type,description,filename", ("Run", "Ride", "Walk")),
        (GERMAN, ("Lauf", "Radfahrt", "Traillauf")),
        (CATALAN, ("Cursa", "Ciclisme", "Caminada")),
    ],
)
def test_the_list_says_the_sport_of_each_file_in_any_language(header, sports):
    assert sports_of(a_list(header, *sports)) == dict(zip(FILES, sports, strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_spreadsheet_may_have_saved_the_list_anew(encoding):
    sports = ("Lauf", "Radfahrt", "Traillauf")
    assert sports_of(a_list(GERMAN, *sports), encoding=encoding) == dict(zip(FILES, sports, strict=True))


def test_files_that_were_moved_are_found_by_their_names():
    sports = ("Run", "Ride", "Trail Run")
    moved = ("1.gpx.gz", "rides/2.gpx", "3.gpx", "lists/activities.csv")
    assert sports_of(a_list(ENGLISH, *sports), moved) == dict(zip(moved, sports, strict=False))
    assert "a/2.gpx" not in sports_of(a_list(ENGLISH, *sports), (*FILES[:1], "a/2.gpx", "b/2.gpx", "x/activities.csv"))


def test_names_are_found_unpacked_in_a_folder_and_beside_other_tables():
    names = [
        "export_1/activities/1.gpx",
        "export_1/activities/2.gpx",
        "export_1/activities.csv",
        "export_1/bikes.csv",
        "other.csv",
    ]
    asked = []

    def read(name):
        asked.append(name)
        return (
            a_list(ENGLISH, "Run", "Ride", "Run").encode() if name.endswith("activities.csv") else b"Bike,Brand\na,b\n"
        )

    assert listed_sports(names, read) == {"export_1/activities/1.gpx": "Run", "export_1/activities/2.gpx": "Ride"}
    assert asked[0] == "export_1/activities.csv"


def test_runkeeper_lists_its_files_too():
    text = "Activity Id,Date,Type,Route Name,Notes,GPX File\na,2019-05-01,Cycling,,,2019-05-01-070300.gpx\nb,2019-05-02,Running,,,2019-05-02-080000.gpx\n"
    names = ["cardioActivities.csv", "measurements.csv", "2019-05-01-070300.gpx", "2019-05-02-080000.gpx"]
    read = {"cardioActivities.csv": text, "measurements.csv": "Date,Type,Value\n2019-05-01,weight,70\n"}
    assert listed_sports(names, lambda name: read[name].encode()) == dict(
        zip(names[2:], ("Cycling", "Running"), strict=True)
    )


def test_descriptions_of_many_lines_and_marks_are_no_trouble():
    text = a_list(ENGLISH, "Run", "Ride", "Run", description='first, ""second""\nthird')
    assert sports_of("\ufeff" + text)["activities/2.gpx"] == "Ride"


@pytest.mark.parametrize(
    "text", ["", "\n", "a,b\n1,2\n", "\0\0\0", '"', "Activity Type,Filename\nRun,elsewhere/9.gpx\n"]
)
def test_other_tables_say_nothing(text):
    assert sports_of(text) == {}


def test_an_export_keeps_its_runs_and_names_the_sport_of_the_rest(tmp_path):
    """The files themselves say nothing, or something else."""
    with ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("activities.csv", a_list(ENGLISH, "Run", "Ride", "Walk"))
        archive.writestr("activities/1.gpx.gz", gzip.compress(gpx_writer.write(sport="")))
        archive.writestr("activities/2.gpx", gpx_writer.write(sport="running"))
        archive.writestr("activities/3.gpx.gz", gzip.compress(gpx_writer.write(sport="9")))
    read = list(read_upload(tmp_path / "export.zip", name="export.zip"))
    found = [one.workout for one in read if not isinstance(one, FileReport)]
    assert [workout.sport for workout in found] == ["running", "cycling", "walking"]
    assert [clean(workout).reasons[0].code for workout in found[1:]] == ["not_running"] * 2
    assert "list of activities" in clean(found[1]).reasons[0].message


def test_empty_lines_in_a_list_cost_nothing():
    table = b"\r\n\nActivity Type,Filename\n\nRun,activities/1.gpx\n"
    assert listed_sports(["activities.csv", "activities/1.gpx"], lambda _: table) == {"activities/1.gpx": "Run"}
    assert listed_sports(["activities.csv", "a.gpx"], lambda _: b"\n\n\n") == {}
