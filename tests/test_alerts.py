"""The alert rules are rules of Prometheus, name only metrics and labels that the API exposes, and fire when they should."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from service.app import create_app
from service.registry import jobs
from service.registry.session import Database
from service.registry.tables import Stage
from service.settings import Settings
from tests import builders

ALERTS = Path(__file__).resolve().parents[1] / "docs" / "alerts.yml"
CASES = Path(__file__).with_name("alerts_cases.yml")  # for `promtool test rules`
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
PROMTOOL = shutil.which("promtool")
FROM_PROMETHEUS = {"up": {"job", "instance"}}  # made by the scrape itself
NAME = re.compile(r"\b(?:stagewise|process)_[a-z_]+\b|\bup\b")


def a_job_fails(database):
    builders.add_job(database, builders.add_ready(database))
    with database.unit_of_work() as session:
        jobs.fail(session, jobs.claim_next(session, "worker", (Stage.STAGE1,), 60.0), "internal_error", "boom")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory, sqlite_template):
    """Every metric that the API exposes, with its labels, after one of each thing was counted."""
    folder = tmp_path_factory.mktemp("metrics")
    database = Database(f"sqlite:///{shutil.copy(sqlite_template, folder / 'stagewise.sqlite3')}")
    metrics = create_app(Settings(state_dir=folder), database).state.services.metrics
    metrics.requests.labels("POST", "/predict", "200").inc()
    metrics.request_seconds.labels("POST", "/predict").observe(0.1)
    metrics.jobs.update(database, patience=5.0)
    a_job_fails(database)
    metrics.jobs.update(database, patience=5.0)
    database.dispose()
    found = {name: set(labels) for name, labels in FROM_PROMETHEUS.items()}
    text = metrics.text([]).decode()
    found |= {name: set() for name in re.findall(r"^# TYPE (\w+) histogram$", text, re.MULTILINE)}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})? \S+", line).groups()
            found.setdefault(name, set()).update(re.findall(r"(\w+)=\"", labels or ""))
    return found


def test_every_rule_says_what_when_how_bad_and_what_to_do():
    assert len(RULES) >= 10
    for rule in RULES:
        assert rule["alert"].startswith("Stagewise"), rule
        assert rule["expr"].strip(), rule
        assert rule["labels"]["severity"] in ("warning", "critical"), rule
        assert {"summary", "action"} <= set(rule["annotations"]), rule


def test_every_metric_in_a_rule_or_its_texts_is_exposed(exposed):
    for rule in RULES:
        for name in NAME.findall(" ".join([rule["expr"], *rule["annotations"].values()])):
            assert name in exposed, (rule["alert"], name)


def test_every_label_in_a_rule_is_one_that_its_metric_has(exposed):
    scraped = {"job", "instance"}
    for rule in RULES:
        for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", rule["expr"]):
            assert set(re.findall(r"(\w+)(?:=|!)", matchers)) <= exposed[name] | scraped, (rule["alert"], name)
        names = set(NAME.findall(rule["expr"]))
        known = set.union(scraped, *(exposed[name] for name in names))
        for labels in re.findall(r"\bby \(([^)]*)\)", rule["expr"]):
            assert {label.strip() for label in labels.split(",")} <= known, rule["alert"]


def test_every_state_and_part_in_a_rule_is_one_that_is_exposed(exposed, tmp_path):
    text = create_app(Settings(state_dir=tmp_path)).state.services.metrics.text([]).decode()
    for rule in RULES:
        for label, value in re.findall(r'\b(part)="(\w+)"', rule["expr"]):
            assert f'{label}="{value}"' in text, (rule["alert"], label, value)
    states = {state for rule in RULES for state in re.findall(r'\bstate="(\w+)"', rule["expr"])}
    assert states == {"queued", "failed"}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool, a part of Prometheus, is not installed on this machine")
def test_prometheus_takes_the_rules(tmp_path):
    done = subprocess.run([PROMTOOL, "check", "rules", str(ALERTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


@pytest.mark.skipif(PROMTOOL is None, reason="promtool, a part of Prometheus, is not installed on this machine")
def test_the_rules_fire_when_they_should_and_are_quiet_else():
    done = subprocess.run([PROMTOOL, "test", "rules", str(CASES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet():
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    for fires in (True, False):
        assert {case["alertname"] for case in cases if bool(case.get("exp_alerts")) == fires} == {
            r["alert"] for r in RULES
        }
