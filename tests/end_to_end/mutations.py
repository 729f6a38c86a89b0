"""Broken requests without end: every operation of an OpenAPI document, with one thing (or two) wrong in each."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_from_bytes

from tests.end_to_end.raw_http import Header, request
from tests.openapi_walk import Json, Operation, filled, nothing, operations

MARK = "@@here@@"
DIGITS = "1" + "0" * 5000
# JSON texts, and some that are none
VALUES = [
    *("NaN", "Infinity", "-Infinity", "nan", "1e400", "-1e400", "1e309", "1e308", "-1e308", "1e300", "9.9e299"),
    *("1e-400", "5e-324", "-0", "-0.0", "0", "1", "-1", "0.5", "24.999", "25", "240.0001", "1e9", "1e15", "1e16"),
    *("2147483648", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e1000000", "01", "+1"),
    *(".5", "5.", "0x10", "1_000", "١", DIGITS, f"-{DIGITS}", f"0.{DIGITS}", f"1e{DIGITS}", "true", "false", "null"),
    *('""', '" "', '"0"', '"me"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\u202e"', '"\\ufeff"', '"\\n"'),
    *('"é"', '"\U0001f3c3"', '"..", "x"', '"../../etc/passwd"', '"%00"', '"\\"', "'x'", '"' + "x" * 101 + '"'),
    *('"' + "x" * 70_000 + '"', '"00000000-0000-0000-0000-000000000000"', '"{00000000000040008000000000000000}"'),
    *("[]", "{}", "[[]]", "[{}]", "[null]", "[true]", '["1"]', "[1, [2]]", "[NaN]", "[1e400]", '{"": 1}', '{"a": NaN}'),
    *("[" * 40 + "]" * 40, "[" * 100_000, '{"a":' * 40 + "1" + "}" * 40, "[" + "0," * 2000 + "0]", "undefined", ""),
    *("[" + "2.5," * 300 + "2.5]", "[" + "150," * 300 + "null]", "[0, 1, 2, 3, 4, 5]", "[0, 1e-9, 2e-9]", "[1e9, 1e9]"),
]
TEXTS = [
    *("", "%00", "%ff%fe", "%ed%a0%80", "..", "../..", "%2e%2e%2f", "a/b", "a%2fb", "null", "0", "-1", "1e9", "NaN"),
    *("9" * 5000, "x" * 8000, "%", "%zz", "é", "\ud800", "'; DROP TABLE jobs; --", "{}", "[]", "$where", "\x7f"),
    *("00000000-0000-0000-0000-000000000000", "{00000000-0000-4000-8000-000000000000}", "urn:uuid:0", "%F0%9F%8F%83"),
]
HEADERS: list[Header] = [
    ("Idempotency-Key", ""),
    ("Idempotency-Key", "k" * 255),
    ("Idempotency-Key", b"\xff\xfe"),
    ("Idempotency-Key", "same"),
    ("X-Request-ID", b"a\x01b"),
    ("X-Request-ID", "x" * 10_000),
    ("Accept", "application/json;q=NaN, */*;q=1e400"),
    ("Accept", b"\xff"),
    ("Accept-Encoding", "gzip;q=-1"),
    ("Range", "bytes=0-0"),
    ("Range", "bytes=-1"),
    ("Range", "bytes=5-2"),
    ("Range", "bytes=99999999999999999999-"),
    ("Range", "bytes=" + "0-1," * 2000 + "0-1"),
    ("Range", "lines=1"),
    ("If-Range", "yesterday"),
    ("If-Range", "\u0661"),
    ("If-None-Match", '"' + "x" * 5000 + '"'),
    ("If-Modified-Since", "Mon, 99 Foo 99999 99:99:99 GMT"),
    ("Cookie", "a=b; " * 1000),
    ("Host", "\x7f"),
    ("Host", "a b"),
    ("X-Forwarded-For", "\ud800"),
    ("Forwarded", "for="),
    ("Upgrade", "websocket"),
    ("Connection", "upgrade"),
    ("Expect", "200-nothing"),
    ("Expect", "100-continue"),
    ("Content-Encoding", "gzip"),
    ("Content-Language", b"\x80"),
]
TYPES = [
    *("", "text/plain", "application/json; charset=utf-16", "application/json; charset=nothing", "application/JSON"),
    *("application/problem+json", "application/x-www-form-urlencoded", "multipart/form-data", "a/b/c", ";", "é"),
    *("multipart/form-data; boundary=x", "application/json;" + "a" * 5000, "application/+json", "application/xml"),
]
METHODS = ["HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "CONNECT", "get", "G\x01T", "X" * 500, ""]
CODECS = ["utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig", "cp1252", "cp500", "shift_jis"]


@dataclass(frozen=True)
class Case:
    """A request as bytes. `last`: the connection is of no use after it, and the server may end it without a word."""

    kind: str
    raw: bytes
    last: bool = False


class Mutations:
    """Draws cases from a seed."""

    def __init__(self, document: Json, key: str, named: dict[str, Any], seed: int) -> None:
        self._random = random.Random(seed)
        self._key, self._named = key, named
        self._all = list(operations(document))
        self._with_json = [operation for operation in self._all if operation.body is not None]
        self._kinds: list[tuple[int, Callable[[], Case]]] = [
            (6, self._valid),
            (34, self._value),
            (16, self._structure),
            (14, self._bytes),
            (8, self._path),
            (8, self._query),
            (8, self._headers),
            (6, self._framing),
        ]

    def __iter__(self) -> Iterator[Case]:
        weights, makers = zip(*self._kinds, strict=True)
        while True:
            yield self._random.choices(makers, weights)[0]()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _of(self, operation: Operation) -> dict[str, Any]:
        """What the request names: mostly what is there. What is deleted is not: it would be gone for the others."""
        there = operation.method != "DELETE" and self._random.random() < 0.8
        return self._named if there else nothing()

    def _bearer(self) -> Header:
        return ("Authorization", f"Bearer {self._key}")

    def _post(self, operation: Operation, body: bytes, *headers: Header, kind: str, last: bool = False) -> Case:
        target = operation.target(self._of(operation))
        given: list[Header] = [("Host", "localhost"), self._bearer(), ("Content-Type", "application/json"), *headers]
        given.append(("Content-Length", str(len(body))))
        return Case(kind, request(operation.method, target, given, body), last)

    def _plain(self, operation: Operation, target: str | None = None, *headers: Header, kind: str) -> Case:
        named = self._of(operation)
        target = operation.target(named) if target is None else target
        body = b"" if operation.method == "GET" else self._body(operation)
        given: list[Header] = [("Host", "localhost"), self._bearer(), *headers]
        if body:
            given += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        return Case(kind, request(operation.method, quoted(target), given, body))

    def _body(self, operation: Operation) -> bytes:
        if operation.body is None:
            return b"workouts" if operation.binary else b""
        return json.dumps(self._filled(operation)).encode()

    def _filled(self, operation: Operation) -> Json:
        """The example with what it names; of the optional names some are left out, because they exclude each other."""
        named = {k: v for k, v in self._of(operation).items() if k in ("dataset_id",) or self._random.random() < 0.5}
        return filled(operation.body, named)

    # -- what is wrong ------------------------------------------------------------------------------------------------

    def _valid(self) -> Case:
        return self._plain(self._random.choice(self._all), kind="nothing")

    def _value(self) -> Case:
        """Another value, or two, at a random place."""
        operation = self._random.choice(self._with_json)
        body = self._filled(operation)
        for _ in range(self._random.choice((1, 1, 2))):
            body = self._replaced(body)
        text = json.dumps(body)
        while f'"{MARK}"' in text:
            text = text.replace(f'"{MARK}"', self._random.choice(VALUES), 1)
        return self._post(operation, text.encode("utf-8", "surrogatepass"), kind="value")

    def _replaced(self, body: Json) -> Json:
        """The mark in the place of a random value at any depth."""
        if not isinstance(body, dict | list) or not body or self._random.random() < 0.1:
            return MARK
        if isinstance(body, list):
            at = self._random.randrange(len(body))
            return [*body[:at], self._replaced(body[at]), *body[at + 1 :]]
        name = self._random.choice(list(body))
        return {**body, name: self._replaced(body[name])}

    def _structure(self) -> Case:
        operation = self._random.choice(self._with_json)
        body = self._filled(operation)
        text, name = json.dumps(body), self._random.choice(list(body) or ["x"])
        other = self._random.choice(VALUES)
        made = self._random.choice(
            (
                json.dumps({k: v for k, v in body.items() if k != name}),
                text[:-1] + f', "{name}": {other}}}',
                text[:-1] + f', "{name}": {json.dumps(body.get(name))}}}',
                text[:-1] + f', "x{self._random.randrange(99)}": {other}}}',
                text[:-1] + ", " + ", ".join(f'"k{n}": {n}' for n in range(1200)) + "}",
                text.replace(f'"{name}"', '"\\ud800"'),
                text.replace(f'"{name}"', f'"{name.upper()}"'),
                f"[{text}]",
                f'{{"a": {text}}}',
                text + text,
                other,
                json.dumps(text),
            )
        )
        return self._post(operation, made.encode("utf-8", "surrogatepass"), kind="structure")

    def _bytes(self) -> Case:
        operation = self._random.choice([*self._with_json, *(o for o in self._all if o.binary)])
        body = bytearray(self._body(operation))
        kind = self._random.randrange(6)
        if kind == 0:
            del body[self._random.randrange(len(body)) :]
        elif kind == 1:
            for _ in range(self._random.randint(1, 4)):
                body[self._random.randrange(len(body))] = self._random.randrange(256)
        elif kind == 2:
            at = self._random.randrange(len(body) + 1)
            body[at:at] = self._random.randbytes(self._random.randint(1, 20))
        elif kind == 3:
            body = bytearray(body.decode("utf-8", "replace").encode(self._random.choice(CODECS), "replace"))
        elif kind == 4:
            body = bytearray(gzip.compress(bytes(body), 1))
        else:
            body = bytearray(self._random.randbytes(self._random.randrange(2000)))
        return self._post(operation, bytes(body), ("Content-Type", self._random.choice(TYPES)), kind="bytes")

    def _path(self) -> Case:
        operation = self._random.choice([o for o in self._all if "{" in o.path])
        named = {name: self._random.choice(TEXTS) for name in nothing()}
        return self._plain(operation, operation.target(named), kind="path")

    def _query(self) -> Case:
        operation = self._random.choice(self._all)
        known = [p["name"] for p in operation.parameters if p["in"] == "query"]
        names = self._random.choices([*known, "x", "", "\ud800"], k=self._random.randint(1, 4))
        query = "&".join(f"{name}={self._random.choice(TEXTS)}" for name in names)
        return self._plain(operation, f"{operation.target(self._of(operation))}?{query}", kind="query")

    def _headers(self) -> Case:
        operation = self._random.choice(self._all)
        wrong = self._random.choices(HEADERS, k=self._random.randint(1, 3))
        case = self._plain(operation, None, *wrong, kind="headers")
        if self._random.random() < 0.2:
            method = self._random.choice(METHODS)
            return Case("method", request(method, operation.target(self._of(operation)), [self._bearer()]), last=True)
        held_back = any(name in ("Expect", "Upgrade", "Connection") for name, _ in wrong)
        return Case("headers", case.raw, last=held_back or not case.raw.startswith(b"GET"))

    def _framing(self) -> Case:
        operation = self._random.choice([*self._with_json, *(o for o in self._all if o.binary)])
        body = self._body(operation)
        head: list[Header] = [("Host", "localhost"), self._bearer(), ("Content-Type", "application/json")]
        size, length = self._random.randint(1, 9), str(len(body))
        whole = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in pieces(body, size))
        encoding: Header = ("Transfer-Encoding", "chunked")
        headers, sent = self._random.choice(
            (
                ([encoding], whole + b"0\r\n\r\n"),
                ([encoding], whole + b"0\r\nX-Trailer: 1\r\n\r\n"),
                ([encoding], whole.replace(b"\r\n", b";a=b\r\n", 1) + b"0\r\n\r\n"),
                ([encoding], whole),
                ([encoding], b"zz\r\n" + whole),
                ([encoding], b"-1\r\n" + whole),
                ([encoding], b"fffffffffffffffff\r\n" + whole),
                ([encoding], whole.replace(b"\r\n", b"\n") + b"0\n\n"),
                ([encoding, ("Content-Length", length)], whole + b"0\r\n\r\n"),
                ([("Transfer-Encoding", "gzip, chunked")], whole + b"0\r\n\r\n"),
                ([("Transfer-Encoding", "nothing")], body),
                ([("Content-Length", str(len(body) + size))], body),
                ([("Content-Length", str(max(0, len(body) - size)))], body),
                ([("Content-Length", "-1")], body),
                ([("Content-Length", "1" * 30)], body),
                ([("Content-Length", "٣")], body),
                ([("Content-Length", length), ("Content-Length", str(size))], body),
                ([], body),
            )
        )
        return Case("framing", request(operation.method, operation.target(self._named), [*head, *headers], sent), True)


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    """The body in parts of `size` bytes, the last one as long as what is left; at most 50 parts."""
    size = max(size, len(body) // 50 + 1)
    return (body[at : at + size] for at in range(0, len(body), size))


def quoted(target: str) -> bytes:
    """A request target without what would end the request line."""
    safe = "/?=&%{}[]:;,@!$'()*+~#"
    return quote(target, safe=safe, errors="surrogatepass").encode() if target else quote_from_bytes(b"/").encode()
