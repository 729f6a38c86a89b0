"""The `stagewise` command against a database in a folder of its own."""

import ast
import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.local.secret_files import ensure_key, write_compose_secrets
from service.registry import accounts, migrations
from service.registry.session import Database
from service.settings import get_settings, read_settings

KEY_LENGTH = len("sw_") + 16 + len("_") + 43


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A migrated state folder that the command's settings name."""
    for name in ("DATABASE_URL", "BROKER_URL", "ARTIFACT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path))
    get_settings.cache_clear()
    migrations.upgrade(get_settings().database_url)
    yield tmp_path
    get_settings.cache_clear()


@pytest.fixture
def state_database(state):
    opened = Database(get_settings().database_url)
    yield opened
    opened.dispose()


def stagewise(command: str):
    return CliRunner().invoke(app, shlex.split(command))


def loaded_by(command: str, among: str) -> tuple[set[str], str]:
    """Which of the modules a process has loaded after this command, and what it printed."""
    code = "import sys\nfrom service.cli.main import app\ntry: app()\nexcept SystemExit: pass\n"
    code += f"print(sorted(set({among.split()!r}) & sys.modules.keys()), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *shlex.split(command)], capture_output=True, text=True, check=True
    )
    return set(ast.literal_eval(done.stderr.splitlines()[-1])), done.stdout


def test_help_lists_the_commands_and_loads_nothing_but_the_command_line():
    heavy = "torch numpy sqlalchemy fastapi celery alembic pydantic httpx2 rich asyncio"
    loaded, shown = loaded_by("--help", heavy)
    assert loaded == set()
    for command in ("up", "migrate", "api", "worker", "keys", "import", "demo", "init-secrets"):
        assert f" {command} " in shown, command


def test_a_command_that_asks_the_api_loads_no_database_no_server_and_no_model(state, monkeypatch):
    monkeypatch.setenv("STAGEWISE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("STAGEWISE_API_KEY", "sw_none")
    heavy = "torch numpy sqlalchemy fastapi celery alembic matplotlib pyarrow structlog"
    for command in ("jobs", "subjects", "stage1 --dataset 12345678", "cancel 12345678"):
        assert loaded_by(command, f"httpx2 {heavy}")[0] == {"httpx2"}, command


def test_a_command_about_keys_loads_the_database_alone(state):
    heavy = "torch numpy fastapi celery alembic structlog httpx2"
    loaded, shown = loaded_by("keys list", f"sqlalchemy {heavy}")
    assert (loaded, "no keys yet" in shown) == ({"sqlalchemy"}, True)


def test_a_created_key_is_printed_once_and_opens_what_its_scopes_say(state, state_database):
    made = stagewise("keys create --name watch --scopes read,predict")
    text = made.stdout.strip()
    parts = accounts.split_key(text)
    with state_database.reading() as session:
        key = accounts.find_key(session, parts.public)
    assert (len(text), key.secret_sha256, key.scopes) == (KEY_LENGTH, parts.secret_sha256, ["read", "predict"])
    listed = stagewise("keys list").stdout
    assert json.loads(stagewise("keys list --json").stdout)[0]["scopes"] == ["read", "predict"]
    assert parts.public in listed
    assert text not in listed


def test_an_unknown_scope_is_refused_with_the_known_ones(state):
    refused = stagewise("keys create --scopes read,fly")
    assert refused.exit_code == 1
    assert "read, train, predict, metrics, admin" in refused.stderr


def test_a_revoked_key_is_no_longer_found(state, state_database):
    public = accounts.split_key(stagewise("keys create").stdout.strip()).public
    assert stagewise(f"keys revoke {public}").exit_code == 0
    with state_database.reading() as session:
        assert accounts.find_key(session, public) is None


def test_revoking_an_unknown_key_says_so(state):
    refused = stagewise("keys revoke 0123456789abcdef")
    assert (refused.exit_code, "0123456789abcdef" in refused.stderr) == (1, True)


def test_without_a_database_the_command_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path))
    get_settings.cache_clear()
    refused = stagewise("keys list")
    get_settings.cache_clear()
    assert (refused.exit_code, "stagewise migrate" in refused.stderr) == (1, True)


def test_the_first_key_is_private_and_stays_while_it_is_valid(state_database, tmp_path):
    file = tmp_path / "api-key"
    ensure_key(state_database, file)
    first = file.read_text()
    ensure_key(state_database, file)
    assert file.read_text() == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with state_database.unit_of_work() as session:
        accounts.revoke_key(session, accounts.split_key(first.strip()).public)
    ensure_key(state_database, file)
    assert file.read_text() != first


@pytest.mark.parametrize("content", ["", "not a key", "sw_0123456789abcdef_" + "x" * 43])
def test_a_file_without_a_valid_key_gets_one(state_database, tmp_path, content):
    file = tmp_path / "api-key"
    file.write_text(content)
    ensure_key(state_database, file)
    parts = accounts.split_key(file.read_text().strip())
    with state_database.reading() as session:
        assert accounts.find_key(session, parts.public).scopes == list(accounts.SCOPES)


def test_compose_secrets_are_made_once_and_every_reader_gets_only_its_own(tmp_path):
    write_compose_secrets(tmp_path)
    files = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(files) == {"app/database-url", "app/broker-url", "postgres/password", "redis/users.acl"}
    assert f":{files['postgres/password'].strip()}@postgres" in files["app/database-url"]
    broker_password = files["app/broker-url"].split(":")[2].split("@")[0]
    assert broker_password not in files["redis/users.acl"]
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in files}
    assert modes == {
        "app/database-url": 0o400,
        "app/broker-url": 0o400,
        "postgres/password": 0o444,
        "redis/users.acl": 0o444,
    }
    write_compose_secrets(tmp_path)
    assert {name: (tmp_path / name).read_text() for name in files} == files


def test_settings_read_the_urls_from_files(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
        (tmp_path / name).write_text(f"{name.lower()}://x\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    settings = read_settings()
    assert (settings.database_url, settings.broker_url) == ("database_url://x", "broker_url://x")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///near")
    assert read_settings().database_url == "sqlite:///near"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("STAGEWISE_TRUSTED_PROXIES", "10.0.0.0/99", "does not appear to be an IPv4 or IPv6 network"),
        ("STAGEWISE_TRUSTED_PROXIES", "127.0.0.1,proxy", "'proxy'"),
        ("STAGEWISE_PORT", "abc", "valid integer"),
        ("STAGEWISE_LEASE_SECONDS", "0", "greater than or equal to 1"),
        ("DATABASE_URL_FILE", "/nowhere/url", "/nowhere/url cannot be read"),
    ],
)
@pytest.mark.parametrize("given", ["up", "worker", "keys list", "jobs"])
def test_a_wrong_setting_is_a_sentence_for_every_command(given, variable, value, said, state, monkeypatch):
    monkeypatch.setenv(variable, value)
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, given.split())
    assert ended.exit_code == 1
    assert said in ended.output
    assert "docs/reference/settings.md" in ended.output
    assert isinstance(ended.exception, SystemExit)


@pytest.mark.parametrize("command", ["api", "worker"])
def test_api_and_worker_become_one_process(command, state, monkeypatch):
    run = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: run.append((program, arguments)))
    assert stagewise(command).exit_code == 0
    ((program, arguments),) = run
    assert program == sys.executable
    assert arguments[2] == {"api": "service.web.serve", "worker": "celery"}[command]


def test_demo_with_a_missing_file_is_refused(tmp_path):
    refused = stagewise(f"demo --data {Path(tmp_path) / 'nothing.fit'}")
    words = " ".join(refused.stderr.replace("│", " ").split())  # without the frame and its line breaks
    assert (refused.exit_code, "does not exist" in words) == (2, True)
