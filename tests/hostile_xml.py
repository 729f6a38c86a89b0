"""Hostile GPX, TCX and Apple Health documents. `small` are made at once, `large` one by one."""

from collections.abc import Iterator

from tests.hostile_zips import stretched

TIME = "2024-05-01T08:00:00Z"
POINT = f'<trkpt lat="1" lon="1"><time>{TIME}</time></trkpt>'
BODIES = {  # by extension: the root, and what a document says; %s is where an attack goes
    "gpx": (
        "gpx",
        f"<gpx><trk><name>%s</name><trkseg>{POINT}<trkpt lat='1' lon='1'><ele>%s</ele></trkpt></trkseg></trk></gpx>",
    ),
    "tcx": (
        "TrainingCenterDatabase",
        "<TrainingCenterDatabase><Activities><Activity Sport='Running'><Id>%s</Id><Lap><Track><Trackpoint>"
        f"<Time>{TIME}</Time><DistanceMeters>%s</DistanceMeters></Trackpoint></Track></Lap></Activity></Activities>"
        "</TrainingCenterDatabase>",
    ),
    "xml": (
        "HealthData",
        "<HealthData><Workout workoutActivityType='HKWorkoutActivityTypeRunning' startDate='2024-05-01 08:00:00 +0000'"
        " endDate='2024-05-01 08:30:00 +0000'><MetadataEntry>%s</MetadataEntry></Workout><Record>%s</Record></HealthData>",
    ),
}
LAUGHS = '<!ENTITY l0 "ha">' + "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
LONG = "a" * 980
DECLARATIONS = {  # what stands in the document type, and what the document says
    "billion laughs": (LAUGHS, "&l11;"),
    "quadratic blow-up": (f'<!ENTITY a "{"a" * 60_000}">', "&a;" * 20_000),
    "recursive entity": ('<!ENTITY a "&b;"><!ENTITY b "&a;">', "&a;"),
    "external entity": ('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"),
    "endless external entity": ('<!ENTITY a SYSTEM "file:///dev/zero">', "&a;"),
    "entity from the network": ('<!ENTITY a SYSTEM "http://127.0.0.1:9/a">', "&a;"),
    "parameter entities": (
        '<!ENTITY % f SYSTEM "file:///etc/passwd"><!ENTITY % e "<!ENTITY &#37; s SYSTEM \'http://127.0.0.1:9/?%f;\'>">%e;%s;',
        "",
    ),
    "laughing parameter entities": (
        "<!ENTITY % p0 'ha'>" + "".join(f"<!ENTITY % p{i} '{f'%p{i - 1};' * 10}'>" for i in range(1, 12)) + "%p11;",
        "",
    ),
    "attribute defaults": (  # 90 kB that each of 9000 elements gets
        "<!ATTLIST a " + " ".join(f"a{i} CDATA '{LONG}'" for i in range(90)) + ">",
        "<a/>" * 9000,
    ),
    "notations": ('<!NOTATION n SYSTEM "file:///bin/sh"><!ENTITY a SYSTEM "x" NDATA n>', "&a;"),
}
INSIDE = {  # hostile without a document type
    "xinclude": '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>',
    "style sheet": '<?xml-stylesheet type="text/xsl" href="http://127.0.0.1:9/a.xsl"?>',
    "many blanks": " " * 60_000,
    "character references": "&#65;" * 50_000,
    "impossible character references": "&#0;&#x110000;&#xD800;",
    "namespaces": "".join(f"<a{i}:a xmlns:a{i}='urn:{i}'/>" for i in range(9000)),
    "unclosed": "<a>" * 60_000,
    "late document type": "<!DOCTYPE a [<!ENTITY b 'c'>]>&b;",
}


def document(extension: str, inside: str = "", declared: str | None = None, head: str = "") -> str:
    """A whole document with `inside` where a text and where a number stands."""
    root, body = BODIES[extension]
    doctype = "" if declared is None else f"<!DOCTYPE {root} [{declared}]>"
    return head + doctype + body.replace("%s", inside)


def small() -> Iterator[tuple[str, bytes]]:
    for extension in BODIES:
        for name, (declared, inside) in DECLARATIONS.items():
            yield f"{name}.{extension}", document(extension, inside, declared).encode()
        for name, inside in INSIDE.items():
            yield f"{name}.{extension}", document(extension, inside).encode()
    yield from _encodings()
    yield "external subset.gpx", b'<!DOCTYPE gpx SYSTEM "http://127.0.0.1:9/a.dtd">' + document("gpx").encode()
    yield "endless subset.xml", b"<!DOCTYPE HealthData [" + b"<!-- ]> '" * 30_000
    yield "quotes in a subset.xml", b"<!DOCTYPE HealthData [" + b"'\"<?" * 60_000 + b"]><HealthData/>"


def _encodings() -> Iterator[tuple[str, bytes]]:
    """Documents that are something else in another encoding."""
    laughing = document("gpx", "&l11;", LAUGHS)
    for encoding in ("utf-16", "utf-16-be", "utf-32", "utf-7", "utf-8-sig", "cp037"):
        head = f'<?xml version="1.0" encoding="{encoding}"?>'
        yield f"laughs in {encoding}.gpx", (head + laughing).encode(encoding)
    for encoding in ("idna", "punycode", "unicode_escape", "zip", "rot13", "undefined", "mbcs", "cp65001", "x" * 5000):
        head = f'<?xml version="1.0" encoding="{encoding}"?>'
        yield f"said to be {encoding[:20]}.gpx", (head + document("gpx")).encode()
    head = '<?xml version="1.0" encoding="UTF-7"?>'
    yield "hidden in utf-7.gpx", (head + "+ADw-gpx+AD4-" + document("gpx")).encode()
    yield "utf-8 said to be utf-16.xml", document("xml", head='<?xml version="1.0" encoding="UTF-16"?>').encode()
    yield "utf-16 health.xml", document("xml", "&l11;", LAUGHS).encode("utf-16")
    yield "overlong utf-8.gpx", b"<gpx>\xc0\xbc!DOCTYPE\xe0\x80\xbe</gpx>"


def large() -> Iterator[tuple[str, bytes]]:
    for extension in BODIES:
        for name, inside in _floods().items():
            yield f"{name}.{extension}", document(extension, inside).encode()
        for name, head in _long_tags().items():
            yield f"{name}.{extension}", document(extension, head).encode()
    for extension in BODIES:
        for name, before, after in HUGE:
            begin, _, rest = document(extension, "\0").partition("\0")
            end = rest.replace("\0", "")
            yield f"{name} in {extension}.zip", stretched((begin + before).encode(), (after + end).encode())
    yield "subset without an end.zip", stretched(b"<!DOCTYPE HealthData [", b"]><HealthData/>")
    yield (
        "a million workouts.xml",
        b"<HealthData>" + b"<Workout startDate='' endDate=''/>" * 1_000_000 + b"</HealthData>",
    )
    yield from _health()


HUGE = (
    ("100 MB of text", "", ""),
    ("100 MB of comment", "<!--", "-->"),
    ("100 MB of instruction", "<?a ", "?>"),
    ("100 MB of characters", "<![CDATA[", "]]>"),
    ("100 MB of attribute", "<a a='", "'/>"),
    ("100 MB of name", "<", "/>"),
)


def _floods() -> dict[str, str]:
    return {
        "a million deep": "<a>" * 1_000_000,
        "a million elements": "<a/>" * 1_000_000,
        "a million comments": "<!---->" * 1_000_000,
        "a million instructions": "<?a?>" * 1_000_000,
        "a million characters": "<![CDATA[]]>" * 1_000_000,
        "a million references": "&lt;" * 1_000_000,
        "a million names": "".join(f"<a{i}/>" for i in range(1_000_000)),
        "a million lines": "\n" * 1_000_000,
    }


def _long_tags() -> dict[str, str]:
    return {
        "a million attributes": f"<a {_attributes(1_000_000)}/>",
        "a million equal attributes": "<a " + "a='' " * 1_000_000 + "/>",
        "elements with 10000 attributes": f"<a {_attributes(10_000)}/>" * 100,
        "long names": "".join(f"<{'a' * 100_000}{i}/>" for i in range(100)),
        "deep with attributes": "".join(f"<a a{i % 50}='{'b' * 9000}'>" for i in range(1000)),
    }


def _attributes(count: int) -> str:
    return " ".join(f"a{i}=''" for i in range(count))


def _health() -> Iterator[tuple[str, bytes]]:
    """Exports of nothing but valid elements, too many of them."""
    day = "<Workout workoutActivityType='HKWorkoutActivityType{}' startDate='20{:02d}-{:02d}-{:02d} 00:00:00 +0000' endDate='20{:02d}-{:02d}-{:02d} 23:59:59 +0000'>{}</Workout>"
    days = [(year, month, date) for year in range(5, 24) for month in range(1, 13) for date in range(1, 29)]
    for sport in ("Running", "Yoga"):
        workouts = "".join(day.format(sport, *one, *one, "") for one in days)
        yield f"a workout each day and night, {sport}.xml", f"<HealthData>{workouts}</HealthData>".encode()
    record = (
        '<Record type="HKQuantityTypeIdentifier{}" sourceName="{}" unit="{}" startDate="2024-05-{:02d} 08:{:02d}:{:02d} +0000"'
        ' endDate="2024-05-{:02d} 08:{:02d}:{:02d} +0000" value="1"/>'
    )
    covered = "".join(
        record.format("DistanceWalkingRunning", f"s{i % 300}", "km", 1 + i % 2, 0, 0, 1 + i % 2, 17, 0)
        for i in range(16_000)
    )
    both = day.format("Running", 24, 5, 1, 24, 5, 2, "")
    yield "each second covered 100 times.xml", f"<HealthData>{covered}{both}</HealthData>".encode()
    beats = record.format("HeartRate", "w", "count/min", 1, 0, 0, 1, 0, 0).replace('value="1"', 'value="120"')
    yield "a million beats in a second.xml", f"<HealthData>{beats * 1_000_000}{both}</HealthData>".encode()
    routes = "".join(f"<FileReference path='/workout-routes/{i}.gpx'/>" for i in range(190_000))
    yield "190000 routes.xml", f"<HealthData>{day.format('Running', 24, 5, 1, 24, 5, 2, routes)}</HealthData>".encode()
    pauses = "<WorkoutEvent type='HKWorkoutEventTypePause' date='2024-05-01 08:00:00 +0000'/>" * 190_000
    yield "190000 pauses.xml", f"<HealthData>{day.format('Running', 24, 5, 1, 24, 5, 2, pauses)}</HealthData>".encode()
