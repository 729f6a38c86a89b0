"""The fields of Settings are the settings: the page of the reference and a child's environment follow from them."""

import ipaddress
from pathlib import Path

import pytest

from service.settings import Settings, environment, read_settings, variables
from tests.readme import SETTINGS


def test_the_page_has_a_row_with_variable_default_and_description_for_every_field():
    rows = []
    for name, variable in variables().items():
        field = Settings.model_fields[name]
        default = str(field.default or "").removesuffix(".0").replace("()", "")
        rows.append(f"| `{variable}` | {f'`{default}` ' if default else ''}| {field.description} |")
    assert [line for line in SETTINGS.read_text().splitlines() if line.startswith("| `")] == rows


def test_a_child_process_gets_every_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        state_dir=Path("state"),
        host="::1",
        port=8123,
        api_processes=3,
        url="http://other:1",
        api_key="secret",
        api_key_file=Path("key"),
        device="cpu",
        lease_seconds=6.5,
        max_upload_bytes=1,
        max_account_bytes=2,
        max_jobs=3,
        max_predictions_per_minute=4,
        trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("127.0.0.1/32")),
        database_url_setting="sqlite:///x",
        broker_url_setting="redis://x",
        artifact_dir_setting=Path("files"),
        database_url_file=Path("database"),
        broker_url_file=Path("broker"),
    )
    assert set(Settings.model_fields) == settings.model_fields_set  # none is left out of this test
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    child = read_settings()
    paths = {name: tmp_path / path for name, path in settings if isinstance(path, Path)}
    assert child == settings.model_copy(update=paths)


def test_a_child_process_is_told_what_is_left_to_the_defaults(tmp_path, monkeypatch):
    for variable in variables().values():
        monkeypatch.delenv(variable, raising=False)
    made = environment(Settings(state_dir=tmp_path))
    assert made["DATABASE_URL"] == f"sqlite:///{tmp_path}/stagewise.sqlite3"
    assert made["ARTIFACT_DIR"] == str(tmp_path / "artifacts")
    assert "STAGEWISE_API_KEY" not in made


@pytest.mark.parametrize(("before", "threads"), [(None, "1"), ("4", "4")])
def test_a_child_process_computes_with_one_thread_unless_the_environment_says_more(monkeypatch, before, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if before:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    assert environment(Settings())["OMP_NUM_THREADS"] == threads
