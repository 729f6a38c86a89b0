"""README and docs: every link leads somewhere, every table is complete, every command runs or says why not."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from hrmodel.training.stages import STAGES, personal_stages, way_to
from service.app import create_app
from service.jobs import live
from service.registry import faults
from service.settings import Settings
from service.web import rate_limits, serve
from service.web.connections import Bounds
from tests.page_commands import NOT_RUN, not_run
from tests.readme import DOCS, PAGES, README, ROOT, prose, shell_blocks, table_under
from worker.failures import CODES

ARCHITECTURE = ROOT / "ARCHITECTURE.md"
DECISIONS = sorted((DOCS / "explanation" / "decisions").glob("*.md"))
MOST_WORDS = 120  # of a decision record
TROUBLES = DOCS / "troubleshooting.md"
ERRORS = {
    "BadRequest",
    "HeadersTooLarge",
    "RequestTimeout",
    "UriTooLong",
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "Conflict",
    "TooLarge",
    "UnsupportedType",
    "Unprocessable",
    "TooManyRequests",
    "Unavailable",
    "ServiceError",
}
EXPECTED = {
    "tutorial",
    "troubleshooting",
    *(
        f"how-to/{name}"
        for name in ("gpu", "workers", "reverse-proxy", "backup", "upgrade", "offline", "python", "endomondo")
    ),
    *(
        f"reference/{name}"
        for name in ("settings", "limits", "endpoints", "file-formats", "checkpoint-format", "metrics")
    ),
    *(f"explanation/{name}" for name in ("inputs", "protocols", "two-stage-unfreezing")),
}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    return {anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)}


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_pages_are_there_and_the_readme_leads_to_each():
    assert {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")} >= EXPECTED
    for page in DOCS.rglob("*.md"):
        assert f"({page.relative_to(ROOT)})" in README.read_text(), page


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_guarantee_names_a_test_that_exists():
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+\.py)`", ARCHITECTURE.read_text())) <= tests


def test_the_architecture_lists_every_decision():
    listed = re.findall(r"^- \[(.+)\]\((docs/explanation/decisions/.+)\)$", ARCHITECTURE.read_text(), re.MULTILINE)
    records = [
        (title, f"{page.relative_to(ROOT)}#{anchor_of(title)}") for page in DECISIONS for title, _ in records_of(page)
    ]
    assert sorted(listed) == sorted(records)


@pytest.mark.parametrize("page", DECISIONS, ids=named)
def test_a_decision_is_short_and_has_context_decision_and_consequences(page):
    for title, text in records_of(page):
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], title
        sentences = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
        assert len(sentences.split()) <= MOST_WORDS, title


def records_of(page: Path) -> list[tuple[str, str]]:
    """The title and the text of every decision on a page."""
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in page.read_text().split("\n## ")[1:]]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_runs_or_is_checked(page):
    for block in shell_blocks(page):
        for one, line in not_run(block) or ():
            one.check(line)


def test_nothing_is_listed_as_not_run_that_no_page_has():
    lines = [line for page in PAGES for block in shell_blocks(page) for line in block.splitlines()]
    for one in NOT_RUN:
        assert any(line.startswith(one.begins) for line in lines), one.begins
        assert one.reason


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_and_target_that_is_named_exists(page):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", prose(page)):
        assert f"\n{target}:" in makefile, target
    for path in re.findall(r"`((?:docs|hrmodel|service|worker|tests|benchmarks)/[\w/.-]+)`", prose(page)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_endpoint_that_is_named_is_served(page, served):
    for method, path in re.findall(r"`(GET|POST|DELETE) (/[\w/{}.-]*)", prose(page)):
        pattern = re.sub(r"{\w+}", "{}", path.rstrip("."))
        assert (method, pattern) in served, (method, path)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return create_app(Settings(state_dir=tmp_path_factory.mktemp("docs")))


@pytest.fixture(scope="module")
def served(app):
    document = app.openapi()["paths"]
    return {(method.upper(), re.sub(r"{\w+}", "{}", path)) for path, methods in document.items() for method in methods}


def test_the_metrics_table_is_what_is_exposed(app):
    text = app.state.services.metrics.text([]).decode()
    exposed = set(re.findall(r"^# TYPE (stagewise_\S+) (\w+)$", text, re.MULTILINE))
    rows = table_under("Prometheus", DOCS / "reference" / "metrics.md")
    assert {(row[0], row[1]) for row in rows if row[0] != "process_*"} == exposed
    for name, _, labels, *_ in rows:
        for line in re.findall(rf"^{re.escape(name)}(?:_bucket)?{{(.*)}}", text, re.MULTILINE):
            assert set(re.findall(r'(\w+)="', line)) - {"le"} == set(labels.split(", ")) - {""}, name


def test_every_error_code_is_explained():
    jobs = {code for row in table_under("Error codes of jobs", TROUBLES) for code in row[0].split(", ")}
    assert jobs == CODES | {"fleet_failed"}
    requests = {code for row in table_under("Error codes of requests", TROUBLES) for code in row[1].split(", ")}
    assert requests == codes_of_requests() | set(faults.CODES.values()) | {"route_not_found", "method_not_allowed"}


def codes_of_requests() -> set[str]:
    """The first argument of every error that the service raises."""
    calls = [
        node
        for file in (ROOT / "service").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args
    ]
    codes = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    codes |= {f"{STAGES[name].starts_from}_required" for name in personal_stages() if len(way_to(name)) > 1}
    return codes - {"newer_dataset", "splits_changed", "default_base_changed"}  # a worker's own, tried again


def test_the_page_of_settings_names_every_unit_and_format_that_is_known():
    from typing import get_args

    from hrmodel.workouts.units import AltitudeUnit, SpeedUnit

    page = (DOCS / "reference" / "file-formats.md").read_text()
    for unit in (*get_args(SpeedUnit), *get_args(AltitudeUnit)):
        assert f"`{unit}`" in page, unit


PROXIES = DOCS / "how-to" / "reverse-proxy.md"


def examples() -> dict[str, str]:
    """The configurations on the page, by their language."""
    return dict(re.findall(r"^```(nginx|caddyfile|yaml)\n(.*?)^```$", PROXIES.read_text(), re.MULTILINE | re.DOTALL))


def test_nginx_passes_on_what_the_api_believes_and_holds_nothing_up():
    text = examples()["nginx"]
    assert text.count("{") == text.count("}")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().endswith(("{", "}"))]
    assert all(line.endswith(";") for line in lines)
    passed = dict(re.findall(r"proxy_set_header (\S+) (\S+);", text))
    assert passed["Host"] == "$http_host", "with its port: the Origin of a page has it, too"
    assert passed["X-Forwarded-Proto"] == "$scheme"
    assert passed["X-Forwarded-For"] == "$remote_addr", "not what the client wrote before it"
    assert passed["X-Forwarded-Host"] == '""', "a client's own is not passed on"
    assert passed["Connection"] == '""'
    assert re.search(r"client_max_body_size 2g;", text), "STAGEWISE_MAX_UPLOAD_BYTES"
    assert Settings().max_upload_bytes == 2 * 1024**3
    for directive in ("proxy_http_version 1.1", "proxy_request_buffering off", "proxy_read_timeout 300s"):
        assert f"{directive};" in text
    assert "proxy_buffering" not in text, "the API asks for it where it matters"
    assert re.search(r"location = /metrics {\s+return 404;\s+}", text)


def test_caddy_and_traefik_do_the_same():
    caddy = examples()["caddyfile"]
    assert caddy.count("{") == caddy.count("}")
    for directive in ("max_size 2GB", "respond /metrics 404", "reverse_proxy 127.0.0.1:8000 {", "flush_interval -1"):
        assert directive in caddy
    traefik = yaml.safe_load(examples()["yaml"])["http"]
    [(name, balancer)] = [(name, each["loadBalancer"]) for name, each in traefik["services"].items()]
    [router] = traefik["routers"].values()
    assert (router["service"], router["tls"]) == (name, {})
    assert "!Path(`/metrics`)" in router["rule"]
    assert balancer["passHostHeader"] is True
    assert balancer["responseForwarding"] == {"flushInterval": "1ms"}
    assert balancer["servers"] == [{"url": f"http://127.0.0.1:{Settings().port}"}]


def test_the_limits_page_says_the_numbers_that_hold():
    page, bounds = (DOCS / "reference" / "limits.md").read_text(), Bounds()
    for said in (
        f"| {bounds.url_bytes // 1024} kB | 414",
        f"| {bounds.header_lines}, together {bounds.header_bytes // 1024} kB | 431",
        f"| {bounds.pipelined} | the connection is closed",
        f"| {bounds.head_seconds:g} s | 408",
        f"| {bounds.body_bytes_per_second * bounds.body_seconds / 1024:g} kB in every {bounds.body_seconds:g} s | 408",
        f"| {bounds.rest_seconds:g} s, {bounds.rest_bytes // 1024**2} MB |",
        f"| {bounds.read_bytes_per_second * bounds.read_seconds / 1024:g} kB in every {bounds.read_seconds:g} s |",
        f"| {bounds.unsent_bytes // 1024**2} MB | the connection",
        f"| an idle connection | {bounds.idle_seconds:g} s",
        f"| connections of one address | {bounds.per_address} |",
        f"| connections in all | {bounds.connections:,}, or {serve.OWN_FILES} fewer",
        f"| {rate_limits.FAILURES} a minute | 429",
        f"| {live.MAX_ACCOUNT_STREAMS} an account, {live.MAX_STREAMS:,} in all | 429",
    ):
        assert said in page, said
