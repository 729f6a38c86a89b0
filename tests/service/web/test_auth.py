"""Keys: who gets in, what a scope opens, how long a key is remembered, and how often one may guess."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError

from service.errors import NotFound, TooManyRequests
from service.registry import accounts
from service.web.rate_limits import RateLimits, RateWindow
from service.web.security import KeyRing
from tests.builders import add_key, on_sqlite, row_counts
from tests.registry_builders import add_account

pytestmark = on_sqlite


class Unreliable:
    """A database that answers until it is `away`."""

    def __init__(self, database, *, away=False):
        self.database, self.away = database, away

    def reading(self):
        if self.away:
            raise OperationalError("SELECT", {}, Exception("connection refused"))
        return self.database.reading()


def parts_of(key):
    return accounts.split_key(key)


def found(ring, key):
    return asyncio.run(ring.find(parts_of(key)))


def wrong_key(number=0):
    return f"sw_{number:016x}_{'x' * 43}"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer sw_0123456789abcdef_short",
        f"Bearer sw_{'0' * 16}_{'x' * 43}",
        f"Bearer sw_{'Z' * 16}_{'x' * 43}",
        "Bearer " + "x" * 5000,
    ],
)
def test_without_a_valid_key_the_answer_is_401(connect, header):
    client = connect()
    response = client.get("/jobs", headers={} if header is None else {"Authorization": header})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_key_with_another_secret_is_refused(client, connect):
    key = client.headers["Authorization"]
    assert client.get("/jobs").status_code == 200  # remembered from now on
    forged = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert connect().get("/jobs", headers={"Authorization": forged}).status_code == 401


@pytest.mark.parametrize(
    ("scope", "method", "path", "allowed"),
    [
        ("read", "GET", "/jobs", True),
        ("read", "POST", "/datasets", False),
        ("read", "POST", "/predict", False),
        ("read", "POST", "/predict/plan", False),
        ("train", "GET", "/jobs", False),
        ("train", "POST", "/jobs/stage1", True),
        ("train", "DELETE", "/subjects/me", True),
        ("predict", "POST", "/predict", True),
        ("predict", "POST", "/predict/plan", True),
        ("predict", "GET", "/models", False),
        ("predict", "DELETE", "/subjects/me", False),
        ("admin", "GET", "/jobs", True),
        ("admin", "POST", "/predict", True),
        ("read", "GET", "/metrics", False),
        ("admin", "GET", "/metrics", True),
        ("metrics", "GET", "/metrics", True),
        ("metrics", "GET", "/jobs", False),
        ("metrics", "POST", "/jobs/stage1", False),
    ],
)
def test_a_scope_opens_its_endpoints_and_no_others(connect, scope, method, path, allowed):
    options = {"json": {"speed": [2.5]}} if method == "POST" and path != "/datasets" else {}
    response = connect(scope).request(method, path, **options)
    assert (response.status_code != 403) == allowed, response.text
    if not allowed:
        assert response.json()["code"] == "missing_scope"


def test_only_the_digest_of_a_secret_is_stored(database):
    key = add_key(database, "read")
    with database.reading() as session:
        row = accounts.find_key(session, parts_of(key).public)
    assert key.split("_", 2)[2] not in str(vars(row))


def test_a_revoked_key_opens_nothing_after_a_minute(database):
    key, now = add_key(database, "read"), [0.0]
    ring = KeyRing(database, clock=lambda: now[0])
    assert found(ring, key).scopes == {"read"}
    with database.unit_of_work() as session:
        accounts.revoke_key(session, parts_of(key).public)
    assert found(ring, key) is not None
    now[0] = 61.0
    assert found(ring, key) is None


def test_a_known_key_outlives_ten_minutes_of_a_database_outage(database):
    key, now, unreliable = add_key(database, "read"), [0.0], Unreliable(database)
    ring = KeyRing(unreliable, clock=lambda: now[0])
    caller = found(ring, key)
    unreliable.away = True
    now[0] = 599.0
    assert found(ring, key) == caller
    assert found(ring, key[:-1] + ("A" if key[-1] != "A" else "B")) is None
    now[0] = 601.0
    with pytest.raises(OperationalError):
        found(ring, key)


def test_an_unknown_key_during_an_outage_is_503_and_not_401(connect, app, database):
    client = connect("read")
    app.state.services = replace(app.state.services, keys=KeyRing(Unreliable(database, away=True)))
    response = client.get("/jobs")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_wrong_keys_from_one_address_are_slowed_down(connect):
    guesser = connect()
    answers = [guesser.get("/jobs", headers={"Authorization": f"Bearer {wrong_key(n)}"}) for n in range(31)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


def test_a_right_key_passes_however_many_wrong_ones_came_from_its_address(connect, database):
    guesser, known = connect(), connect("read")
    assert known.get("/jobs").status_code == 200
    for number in range(40):
        guesser.get("/jobs", headers={"Authorization": f"Bearer {wrong_key(number)}"})
    never_seen = connect("read")
    assert [client.get("/jobs").status_code for client in (known, never_seen)] == [200, 200]
    key = add_key(database, "read")
    form = {"data": {"key": key}, "headers": {"Origin": "http://testserver"}, "follow_redirects": False}
    assert connect().post("/ui/sign-in", **form).status_code == 303


def test_who_sends_no_key_guesses_none(connect):
    visitor, guesser = connect(), connect()
    for _ in range(40):
        assert visitor.get("/", follow_redirects=False).status_code == 303
        assert visitor.get("/jobs").status_code == 401
    assert guesser.get("/jobs", headers={"Authorization": f"Bearer {wrong_key()}"}).status_code == 401


def test_a_thousand_guesses_at_once_cost_the_database_a_few_queries(database, count_queries):
    ring, right = KeyRing(database), add_key(database, "read")

    async def guess():
        guesses = [ring.find(parts_of(wrong_key(number))) for number in range(1000)]
        return await asyncio.gather(*guesses, ring.find(parts_of(right)))

    answers = []
    assert count_queries(lambda: answers.extend(asyncio.run(guess()))) < 10
    assert [answer is not None for answer in answers] == [False] * 1000 + [True]


def test_a_known_keys_wrong_secret_costs_the_database_nothing(database, count_queries):
    ring, right = KeyRing(database), add_key(database, "read")
    assert found(ring, right)
    wrong = f"sw_{parts_of(right).public}_{'x' * 43}"
    assert count_queries(lambda: [found(ring, wrong) for _ in range(50)]) == 0


@pytest.mark.parametrize(
    ("addresses", "refused"),
    [
        (["192.0.2.1", "192.0.2.2"], False),
        (["2001:db8:1:2::1", "2001:db8:1:2:ffff::9"], True),
        (["2001:db8:1:2::1", "2001:db8:1:3::1"], False),
        (["192.0.2.1", "::ffff:192.0.2.1"], True),
    ],
)
def test_guesses_are_counted_by_what_one_caller_has(app, addresses, refused):
    limits = RateLimits(predictions=1, failures=1)
    limits.count_failure(addresses[0])
    try:
        limits.count_failure(addresses[1])
    except TooManyRequests:
        assert refused
    else:
        assert not refused


def test_posts_with_one_key_are_limited(app):
    limits = RateLimits(predictions=2)
    limits.count_post("a")
    limits.count_post("a")
    limits.count_post("b")
    with pytest.raises(TooManyRequests) as refused:
        limits.count_post("a")
    assert 1 <= refused.value.retry_after <= 60


def test_a_new_minute_starts_anew(app):
    now = [0.0]
    window = RateWindow(1, clock=lambda: now[0])
    window.count("a")
    now[0] = 59.5
    assert (window.wait("a"), window.wait("b")) == (1, None)
    now[0] = 60.0
    assert window.wait("a") is None


def test_keys_are_listed_and_revoked_once(database):
    key = add_key(database, "read", "train")
    public = parts_of(key).public
    with database.unit_of_work() as session:
        assert [(row.public, account) for row, account in accounts.list_keys(session)] == [(public, "default")]
        accounts.revoke_key(session, public)
        with pytest.raises(NotFound):
            accounts.revoke_key(session, public)


def test_a_key_needs_scopes_that_exist(database):
    account = add_account(database)
    before = row_counts(database)
    for scopes in ([], ["everything"]):
        with database.unit_of_work() as session, pytest.raises(ValueError, match="scopes are some of"):
            accounts.create_key(session, account, "k", scopes)
    assert row_counts(database) == before
