"""Signing in to the dashboard: a session of its own, which ends; and who may act with it."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from service.app import create_app
from service.registry import accounts, dashboard_sessions
from service.registry.tables import DashboardSession, utc_now
from service.settings import Settings
from service.web.sessions import COOKIE, KEY_COOKIE, SECURE_COOKIE
from tests import builders
from tests.builders import on_sqlite

pytestmark = on_sqlite
ORIGIN = {"Origin": "http://testserver"}


@pytest.fixture
def key(database):
    return builders.add_key(database, "read", "train")


@pytest.fixture
def sign_in(connect, key):
    """A browser that has signed in with a key; it follows no redirects by itself."""

    def make(given=None):
        client = connect()
        client.follow_redirects = False
        assert client.post("/ui/sign-in", data={"key": given or key}, headers=ORIGIN).status_code == 303
        return client

    return make


def rows(database):
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(DashboardSession))


def age(database, **columns):
    with database.unit_of_work() as session:
        session.execute(update(DashboardSession).values(columns))


def test_the_cookie_is_not_the_key_and_opens_only_the_dashboards_way(sign_in, key, connect):
    token = sign_in().cookies[COOKIE]
    assert key not in token
    assert key.split("_", 2)[2] not in token  # the secret may hold a _ of its own
    assert len(token) >= 43
    for header in (f"Bearer {token}", f"Bearer sw_{'0' * 16}_{token[:43]}"):
        assert connect().get("/jobs", headers={"Authorization": header}).status_code == 401


def test_only_the_digest_of_a_token_is_stored(sign_in, database):
    token = sign_in().cookies[COOKIE]
    with database.reading() as session:
        [row] = session.scalars(select(DashboardSession))
    assert token not in str(vars(row))


def test_every_sign_in_is_another_session_and_the_one_before_ends(sign_in, database, key):
    browser = sign_in()
    first = browser.cookies[COOKIE]
    browser.post("/ui/sign-in", data={"key": key}, headers=ORIGIN)
    assert browser.cookies[COOKIE] != first
    assert rows(database) == 1


def test_signing_out_ends_the_session_whoever_still_has_the_cookie(sign_in, connect):
    browser = sign_in()
    token = browser.cookies[COOKIE]
    assert browser.get("/jobs").status_code == 200
    browser.post("/ui/sign-out", headers=ORIGIN)
    assert COOKIE not in browser.cookies
    kept = connect()
    kept.cookies.set(COOKIE, token)
    answer = kept.get("/jobs")
    assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")


def test_another_process_knows_of_signing_in_and_out(sign_in, database, settings, store, sent):
    other = TestClient(create_app(settings, database, store, sent))
    browser = sign_in()
    other.cookies.set(COOKIE, browser.cookies[COOKIE])
    assert other.get("/jobs").status_code == 200
    browser.post("/ui/sign-out", headers=ORIGIN)
    assert other.get("/jobs").status_code == 401


@pytest.mark.parametrize("column", ["created_at", "used_at"])
def test_a_session_ends_by_time(sign_in, database, column):
    browser = sign_in()
    days = {"created_at": 30, "used_at": 7}[column]
    age(database, **{column: utc_now() - timedelta(days=days - 0.1)})
    assert browser.get("/jobs").status_code == 200
    age(database, **{column: utc_now() - timedelta(days=days + 0.1)})
    assert browser.get("/jobs").status_code == 401
    sign_in()
    assert rows(database) == 1, "what has ended is swept"


def test_using_a_session_keeps_it(sign_in, database):
    browser = sign_in()
    age(database, used_at=utc_now() - timedelta(days=6))
    browser.get("/jobs")
    with database.reading() as session:
        assert utc_now() - session.scalar(select(DashboardSession.used_at)) < timedelta(minutes=1)


def test_a_session_ends_with_its_key_and_no_other_does(sign_in, database, key):
    mine, others = sign_in(), sign_in(builders.add_key(database, "read"))
    with database.unit_of_work() as session:
        accounts.revoke_key(session, accounts.split_key(key).public)
    assert (mine.get("/jobs").status_code, others.get("/jobs").status_code) == (401, 200)


def test_a_session_may_do_what_its_key_may(sign_in, database):
    reader = sign_in(builders.add_key(database, "read"))
    assert reader.post("/jobs/stage1", json={}, headers=ORIGIN).status_code == 403
    assert reader.get("/metrics").status_code == 403


def test_the_newest_hundred_sessions_of_a_key_stay(sign_in, database, key):
    first = sign_in()
    age(database, used_at=utc_now() - timedelta(hours=2))
    with database.unit_of_work() as session:
        for _ in range(100):
            dashboard_sessions.open_session(session, accounts.split_key(key).public)
    assert rows(database) == 100
    assert first.get("/jobs").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 5000, "../..", "' OR 1=1 --"])
def test_a_made_up_cookie_leads_to_the_form_and_locks_nobody_out(connect, token):
    client = connect()
    client.follow_redirects = False
    for _ in range(40):
        client.cookies.set(COOKIE, token)
        assert client.get("/").status_code == 303
        assert client.get("/jobs").status_code == 401


def test_what_earlier_versions_left_in_a_browser_opens_nothing_and_goes(connect, key):
    client = connect()
    client.cookies.set(KEY_COOKIE, key, domain="testserver.local")
    assert client.get("/jobs").status_code == 401
    gone = client.get("/ui/sign-in").headers["set-cookie"]
    assert gone.startswith(f'{KEY_COOKIE}=""; ')
    assert "Max-Age=0" in gone


@pytest.fixture
def proxied(settings, database, store, sent):
    """A browser at https://runs.example whose requests reach the API over plain HTTP, through a trusted proxy."""
    trusting = Settings(**{**settings.model_dump(), "trusted_proxies": "10.0.0.0/8"})
    app = create_app(trusting, database, store, sent)
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": "runs.example"}
    return TestClient(
        app, base_url="http://backend:8000", client=("10.0.0.9", 1), headers=headers, follow_redirects=False
    )


def test_over_tls_the_cookie_is_secure_and_bound_to_the_host(proxied, key):
    answer = proxied.post("/ui/sign-in", data={"key": key}, headers={"Origin": "https://runs.example"})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{SECURE_COOKIE}=")
    assert {"secure", "httponly", "path=/", "samesite=strict"} <= set(cookie.lower().split("; "))
    assert "domain" not in cookie.lower()
    token = cookie.split("=", 1)[1].split(";")[0]
    assert proxied.get("/jobs", headers={"Cookie": f"{SECURE_COOKIE}={token}"}).status_code == 200
    assert proxied.get("/jobs", headers={"Cookie": f"{COOKIE}={token}"}).status_code == 401, "one that TLS did not keep"


ORIGINS = [
    "https://testserver",
    "http://testserver:8080",
    "http://testserver.evil.example",
    "http://evil.example",
    "http://sub.testserver",
    "http://testserver@evil.example",
    "null",
    "",
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_pages_of_other_origins_cannot_act_with_the_session(sign_in, origin):
    browser = sign_in()
    headers = {"Origin": origin} if origin else {}
    for path in ("/ui/jobs", "/ui/sign-out", "/jobs/stage1", "/predict"):
        assert browser.post(path, headers=headers).status_code == 403, path
    assert browser.delete("/subjects/anna", headers=headers).status_code == 403
    assert browser.get("/jobs").status_code == 200


@pytest.mark.parametrize("origin", ["http://testserver", "http://testserver:80"])
def test_pages_of_ours_can_however_the_origin_is_written(sign_in, origin):
    assert sign_in().post("/ui/sign-out", headers={"Origin": origin}).status_code == 303


def test_without_a_trusted_proxy_forwarding_headers_change_nothing(connect, key):
    client = connect()
    client.follow_redirects = False
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "X-Forwarded-For": "203.0.113.7"}
    evil = client.post("/ui/sign-in", data={"key": key}, headers={**forged, "Origin": "https://evil.example"})
    assert evil.status_code == 403
    ours = client.post("/ui/sign-in", data={"key": key}, headers={**forged, **ORIGIN})
    assert (ours.status_code, "Secure" in ours.headers["set-cookie"]) == (303, False)
    wrong = [
        client.get("/jobs", headers={"X-Forwarded-For": f"203.0.113.{n}", "Authorization": f"Bearer {wrong_key(n)}"})
        for n in range(31)
    ]
    assert [answer.status_code for answer in wrong] == [401] * 30 + [429]


def test_behind_a_trusted_proxy_guesses_are_counted_by_caller(proxied):
    def guess(number, address):
        headers = {"X-Forwarded-For": address, "Authorization": f"Bearer {wrong_key(number)}"}
        return proxied.get("/jobs", headers=headers).status_code

    assert [guess(n, "203.0.113.7") for n in range(31)][-1] == 429
    assert guess(50, "203.0.113.8") == 401
    assert guess(51, "203.0.113.8, 203.0.113.7") == 429, "what a caller writes before the proxy does not count"
    assert guess(52, "203.0.113.7, 10.1.2.3") == 429, "a second proxy of ours"


def wrong_key(number):
    return f"sw_{number:016x}_{'x' * 43}"
