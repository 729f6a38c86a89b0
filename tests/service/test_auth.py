"""Keys: who gets in, what a scope opens, how long a key is remembered, and how often one may guess."""

import pytest
from sqlalchemy.exc import OperationalError

from service.errors import NotFound, TooManyRequests
from service.rate_limits import RateLimits, Window
from service.registry import accounts
from service.security import KeyRing
from tests.builders import add_key, on_sqlite, row_counts
from tests.registry_builders import add_account

pytestmark = on_sqlite


class Away:
    """A database that does not answer."""

    def reading(self):
        raise OperationalError("SELECT", {}, Exception("connection refused"))


def parts_of(key):
    return accounts.split_key(key)


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
    assert ring.load(parts_of(key)).scopes == {"read"}
    with database.unit_of_work() as session:
        accounts.revoke_key(session, parts_of(key).public)
    assert ring.known(parts_of(key)) is not None
    now[0] = 61.0
    assert ring.known(parts_of(key)) is None
    assert ring.load(parts_of(key)) is None


def test_a_known_key_outlives_ten_minutes_of_a_database_outage(database):
    key, now = add_key(database, "read"), [0.0]
    ring = KeyRing(database, clock=lambda: now[0])
    caller = ring.load(parts_of(key))
    ring._database = Away()
    now[0] = 599.0
    assert ring.load(parts_of(key)) == caller
    now[0] = 601.0
    with pytest.raises(OperationalError):
        ring.load(parts_of(key))


def test_an_unknown_key_during_an_outage_is_503_and_not_401(connect, app, database):
    client = connect("read")
    app.state.services.keys._database = Away()
    response = client.get("/jobs")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_wrong_keys_from_one_address_are_slowed_down_and_known_keys_pass(connect):
    client, guesser = connect("read"), connect()
    assert client.get("/jobs").status_code == 200
    answers = [guesser.get("/jobs") for _ in range(31)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert client.get("/jobs").status_code == 200


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
    window = Window(1, clock=lambda: now[0])
    window.count("a")
    now[0] = 59.5
    assert (window.wait("a"), window.wait("b")) == (1, None)
    now[0] = 60.0
    assert window.wait("a") is None


def test_keys_are_listed_and_revoked_once(database):
    key = add_key(database, "read", "train")
    public = parts_of(key).public
    with database.unit_of_work() as session:
        assert [row.public for row in accounts.list_keys(session, add_account_id(database))] == [public]
        accounts.revoke_key(session, public)
        with pytest.raises(NotFound):
            accounts.revoke_key(session, public)


def add_account_id(database):
    with database.reading() as session:
        return accounts.ensure_account(session).id


def test_a_key_needs_scopes_that_exist(database):
    account = add_account(database)
    before = row_counts(database)
    for scopes in ([], ["everything"]):
        with database.unit_of_work() as session, pytest.raises(ValueError, match="scopes are some of"):
            accounts.create_key(session, account, "k", scopes)
    assert row_counts(database) == before
