"""Files that are cut, damaged, or written carelessly: what is sure is kept, what is lost is told."""

import re

import numpy as np
import pytest

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import gpx, tcx
from hrmodel.workouts.formats.heads import is_gpx
from hrmodel.workouts.formats.scalars import number
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.timeline import instant
from tests import gpx_writer, tcx_writer

POINTS = 60
NAME = b"<name>A run</name>"
READERS = {"gpx": gpx.read, "tcx": tcx.read}
WHOLE = {"gpx": gpx_writer.write(points=POINTS), "tcx": tcx_writer.write(points=POINTS // 2)}
END = {"gpx": b"</trkpt>", "tcx": b"</Trackpoint>"}
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'


@pytest.fixture
def read(tmp_path):
    """The workouts in a file of these bytes, and what is said to be wrong with it."""

    def read_bytes(data, format_="gpx"):
        path = tmp_path / "some"
        path.write_bytes(data)
        found, problem = [], None
        try:
            for workout in READERS[format_](Source(path=path, name="some")):
                found.append(workout)
        except InvalidFile as error:
            problem = str(error)
        return found, problem

    return read_bytes


def encoded(encoding, text="Läufchen", declared=None):
    """The run with a name in an encoding that the file declares, perhaps wrongly."""
    document = WHOLE["gpx"].decode().replace("A run", text).replace("UTF-8", declared or encoding)
    return document.encode(encoding)


def line_of_point(data, number):
    return data.replace(b"<trkpt", b"\n<trkpt").split(b"\n")[number]


@pytest.mark.parametrize("format_", READERS)
def test_a_file_that_is_cut_after_any_byte_keeps_the_points_that_were_whole_and_says_so(read, format_):
    data = WHOLE[format_]
    first = data.index(END[format_])
    for length in range(first + 20, len(data) - 60, max(1, len(data) // 97)):
        (workout,), problem = read(data[:length], format_)
        assert len(workout.t) == data[:length].count(END[format_])
        assert "ends too early" in problem


@pytest.mark.parametrize("format_", READERS)
def test_closing_tags_that_are_missing_cost_no_point(read, format_):
    data = WHOLE[format_]
    (workout,), problem = read(data[: data.rindex(END[format_]) + len(END[format_])], format_)
    assert (len(workout.t), workout.t[-1]) == (POINTS, POINTS - 1 + 100)
    assert problem.startswith("line 1: the file ends too early")


@pytest.mark.parametrize(
    ("sound", "broken", "points_lost"),
    [
        (b"</time>", b"</tim", 0),
        (b"</time>", b"<time>", 0),
        (b"</ele>", b"", 0),
        (b"<time>", b"<ti<me>", 1),
        (b"<time>", b"<<time>", 0),
        (b"</trkpt>", b"</trkp", 0),
        (b"</trkpt>", b"", 0),
        (b"<ele>", b'<ele a="', 0),
        (b"</extensions></trkpt>", b"</extens", 0),
        (b"</ns3:hr>", b"\0\1&&<>", 0),
        (b"<time>", b"</x><time>", 0),
        (b"><ele>", b"<ele>", 0),
    ],
)
def test_a_broken_tag_costs_no_more_than_its_point_and_is_told(read, sound, broken, points_lost):
    points = WHOLE["gpx"].replace(b"<trkpt", b"\n<trkpt").split(b"\n")
    points[20] = points[20].replace(sound, broken)
    (workout,), problem = read(b"\n".join(points))
    assert len(workout.t) in (POINTS - points_lost, POINTS - 1)
    untouched = np.r_[: len(workout.t)] < 18
    assert workout.heart_rate[untouched].tolist() == [120 + i for i in range(18)]
    assert workout.heart_rate[-1] == 150
    assert workout.sport == "running"
    assert "the XML is damaged here" in problem


def test_damage_in_a_point_is_told_with_its_line_and_how_often_there_is_more(read):
    lines = WHOLE["gpx"].replace(b"<trkpt", b"\n<trkpt").split(b"\n")
    for place in (10, 20):
        lines[place] = lines[place].replace(b"</time>", b"</time")
    _, problem = read(b"\n".join(lines))
    assert problem == "line 11: the XML is damaged here and at 1 more places; what is around it is read"


def test_workouts_before_and_after_the_damage_are_read_once_each(read):
    data = tcx_writer.write(activities=4, points=10)
    places = [found.start() for found in re.finditer(b"</Time>", data)]
    broken = data[: places[45]] + b"<" + data[places[45] :]
    found, problem = read(broken, "tcx")
    sound, _ = read(data, "tcx")
    assert [workout.source for workout in found] == [workout.source for workout in sound]
    assert [workout.digest for workout in found[:2]] == [workout.digest for workout in sound[:2]]
    assert found[3].digest == sound[3].digest
    assert "damaged here" in problem


TEXTS = {
    "a bare ampersand": b"Park & Ride",
    "an open bracket": b"5 < 6 <3 <run",
    "entities of HTML": b"caf&eacute;&nbsp;&bull;",
    "a byte of Latin-1": b"Caf\xe9",
    "control characters": b"a\x0b\x00\x1fb\x7f",
    "half a character": b"a\xe2\x82",
    "a section of data": b"<![CDATA[a < b & c]]>",
    "a section that breaks off": b"<![CDATA[a < b & c",
    "a comment that XML forbids": b"<!-- a -- b --->",
    "a tag that is not closed": b"<b>fast",
    "a prefix that nobody declared": b"<x:y z:w='1'>&</x:y>",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_that_nobody_needs_costs_nothing(read, text):
    (workout,), problem = read(WHOLE["gpx"].replace(NAME, b"<name>" + text + b"</name>"))
    (sound,), _ = read(WHOLE["gpx"])
    if b"<![CDATA[" not in text or b"]]>" in text:
        assert (workout.digest, problem) == (sound.digest, None)
    else:
        assert workout.digest == sound.digest


DOCUMENTS = {
    "UTF-16": encoded("utf-16", declared="UTF-16"),
    "UTF-16 that says UTF-8": encoded("utf-16", declared="UTF-8"),
    "UTF-16 without a mark": encoded("utf-16-le", declared="UTF-8"),
    "UTF-16 the other way round": encoded("utf-16-be", declared="UTF-16"),
    "UTF-32": encoded("utf-32", declared="UTF-32"),
    "UTF-8 that says UTF-16": encoded("utf-8", declared="UTF-16"),
    "UTF-8 with the mark of UTF-16": b"\xff\xfe" + WHOLE["gpx"],
    "GB2312": encoded("gb2312", "晨跑"),
    "GBK": encoded("gbk", "晨跑"),
    "GB18030": encoded("gb18030", "晨跑"),
    "Shift_JIS": encoded("shift_jis", "朝ラン表ソ"),
    "EUC-JP": encoded("euc-jp", "朝ラン"),
    "Big5": encoded("big5", "晨跑功"),
    "EUC-KR": encoded("euc-kr", "아침"),
    "windows-1250": encoded("windows-1250", "běh"),
    "windows-1251": encoded("windows-1251", "бег"),
    "KOI8-R": encoded("koi8-r", "бег"),
    "KOI8-R that nobody declared": encoded("koi8-r", "бег", declared="UTF-8"),
    "Shift_JIS that nobody declared": encoded("shift_jis", "朝ラン表ソ", declared="UTF-8"),
    "an encoding that is none": encoded("utf-8", declared="no-such-encoding"),
    "a codec that is none of text": encoded("utf-8", declared="hex"),
    "a codec that knows no errors": encoded("utf-8", declared="idna"),
    "a codec that unpacks": encoded("utf-8", declared="zip"),
    "EBCDIC, it says": encoded("utf-8", declared="cp037"),
    "a mark and a line break": b"\xef\xbb\xbf\n" + WHOLE["gpx"],
    "blanks before it": b"\n\n  " + WHOLE["gpx"],
    "a warning before it": b"<br />\n<b>Warning</b>:  a & b in <b>/x.php</b><br />\n" + WHOLE["gpx"],
    "words before it": b"Notice: undefined index\n" + WHOLE["gpx"],
    "rubbish behind it": WHOLE["gpx"] + b"\n<!-- 0.1 s --> & more <br> \0\0\0",
    "two declarations": DECLARATION + WHOLE["gpx"],
    "no declaration": WHOLE["gpx"].removeprefix(DECLARATION),
}


@pytest.mark.parametrize("data", DOCUMENTS.values(), ids=DOCUMENTS)
def test_no_encoding_and_nothing_around_a_document_costs_anything(tmp_path, read, data):
    assert is_gpx(data[:4096])
    found, problem = read(data)
    (sound,), _ = read(WHOLE["gpx"])
    assert ([workout.digest for workout in found], problem) == ([sound.digest], None)


def test_two_documents_in_one_file_are_both_read(read):
    data = gpx_writer.write(tracks=2)
    found, problem = read(WHOLE["gpx"] + b"\n" + data)
    assert (len(found), problem) == (3, None)


def test_a_document_type_is_refused_wherever_it_stands_before_the_document(read):
    declared = b'<!DOCTYPE gpx [<!ENTITY a "&b;&b;"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    for before in (b"", b"words & ", b"<br>"):
        found, problem = read(before + declared + WHOLE["gpx"].replace(b"A run", b"&a;&"))
        assert found == []
        assert "document type" in problem


@pytest.mark.parametrize(
    "text",
    ["", " ", "yesterday", "0000-05-04T06:42:30Z", "2024-13-01T00:00:00Z", "2024-05-01T25:00:00Z", "9" * 60, "12:00"],
)
def test_a_bad_time_costs_its_point_alone(read, text):
    data = re.sub(rb"(<trkpt.*?<time>).*?<", rb"\g<1>" + text.encode() + b"<", WHOLE["gpx"], count=1)
    (workout,), problem = read(data)
    assert (len(workout.t), problem) == (POINTS - 1, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-05-31T06:30:00Z", 0),
        ("2024-05-31 06:30:00", 0),
        ("2024-05-31T06:30:00z", 0),
        ("2024-05-31T06:30Z", 0),
        ("2024-05-31T06:30:00,5Z", 0.5),
        ("2024-05-31T06:30:00.1234567Z", 0.123456),
        ("2024-05-31T6:30:00 Z", 0),
        ("2024/05/31 06:30:00", 0),
        ("2024-05-31T06:30:00 UTC", 0),
        ("2024-5-31T08:30:00+02:00", 0),
        ("2024-05-31T8:30:00+0200", 0),
        ("2024-05-31T3:00:00-03:30", 0),
        ("2024-05-31T24:00:00Z", 63_000),
        ("1717137000", 0),
        ("2024-05-31T06:29:60Z", -0.65),
    ],
)
def test_times_with_a_clear_meaning_are_read(text, seconds):
    assert instant(text) - 1717137000 == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize(("text", "value"), [("47,125", 47.125), (" -0,5 ", -0.5), ("+120,2", 120.2), ("7", 7.0)])
def test_a_comma_may_stand_for_the_decimal_point(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", ["1,234,567", "1,2.3", ",5", "5,", "a,b", "1_0,5"])
def test_what_is_no_clear_number_is_none(text):
    assert np.isnan(number(text))
