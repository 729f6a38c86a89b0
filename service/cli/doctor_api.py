"""What doctor looks at through the API: itself, its clock, the key, and the broker and the worker behind it."""

import time
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any

import httpx2

from service.cli.doctor_machine import Away, Machine, Wrong, compare_clocks
from service.cli.import_files import ImportFailed, key_of
from service.operations.parts import degradations
from service.registry import accounts
from service.settings import Settings

API_SECONDS = 10.0
NEW_KEY = "Set STAGEWISE_API_KEY to a valid key: `stagewise keys list` shows them, `stagewise keys create` makes one."
AT_WHAT_URL = "Correct STAGEWISE_URL or STAGEWISE_PORT: http://host:port of a Stagewise that runs."


class Api:
    """The API at the settings' address, seen from this machine. Its checks are like those of Machine."""

    def __init__(self, settings: Settings, machine: Machine) -> None:
        self._settings, self._machine = settings, machine
        self._api: httpx2.Response | None = None
        self._asked = self._answered_at = 0.0
        self._degraded: list[str] | None = None

    def reach_api(self) -> str:
        """Whether it answers and can serve."""
        url = self._settings.api_url
        self._asked = time.time()
        answer = self._ask("/readyz")
        self._answered_at = time.time()
        said = _object(answer)
        if not ("degraded" in said if answer.is_success else "code" in said):
            raise Wrong(f"What answers at {url} is no Stagewise.", AT_WHAT_URL)
        self._api = answer
        if answer.is_success:
            self._degraded = list(said["degraded"])
            return f"{url} answers"
        raise Wrong(f"{url} cannot serve: {said.get('detail')}", "See what the database's checks say.")

    def api_version(self) -> str:
        """Whether it is that of this command."""
        self._answered()
        info = _object(self._ask("/openapi.json")).get("info")
        theirs, ours = info.get("version") if isinstance(info, dict) else None, version("stagewise")
        if theirs != ours:
            advice = "Start the API anew after an upgrade."
            raise Wrong(f"The API is version {theirs}, this command {ours}.", advice, "warning")
        return ours

    def api_clock(self) -> str:
        """By its Date header."""
        date = self._answered().headers.get("date")
        if date is None:
            raise Away("a Date header")
        theirs = parsedate_to_datetime(date).timestamp()
        # It was written at some moment while we waited, and names whole seconds.
        moment = min(max(theirs, self._asked - 1), self._answered_at)
        return compare_clocks(theirs, "the API's machine", at=moment)

    def key(self) -> str:
        """Whether the API takes it, and for what."""
        self._answered()
        try:
            key = key_of(self._settings)
        except ImportFailed as error:
            raise Wrong(str(error), "`stagewise keys create` makes one.") from error
        parts = accounts.split_key(key)
        if parts is None:
            raise Wrong("What is given as the key is none: sw_, 16 digits, _ and 43 characters.", NEW_KEY)
        answer = self._ask("/subjects?limit=1", key)
        code = _object(answer).get("code")
        if answer.status_code == 401:
            raise Wrong(f"The API refuses the key: {_object(answer).get('detail')}", NEW_KEY)
        if not answer.is_success and code != "missing_scope":
            raise Wrong(
                f"The API did not look at the key: {answer.status_code} {code}.", "Look again in a minute.", "warning"
            )
        return self._scopes(parts.public, reads=answer.is_success)

    def _scopes(self, public: str, *, reads: bool) -> str:
        """What a valid key may do, as far as it can be seen: the API does not say, so by the database."""
        known = None
        if self._machine.has_tables:
            with self._machine.reached().reading() as session:
                known = accounts.find_key(session, public)
            if known is None:
                what = f"The API takes the key {public}, but it is none of this database, or revoked a moment ago."
                raise Wrong(what, f"{NEW_KEY} Does the API use the same DATABASE_URL?", "warning")
        scopes = " ".join(known.scopes) if known else "its scopes are in the API's database"
        if not reads:
            advice = "Make one with --scopes read,train,predict, unless it is meant to do no more."
            raise Wrong(f"The key {public} is valid but may not read ({scopes}).", advice, "warning")
        return f"the API takes {public}: {scopes}"

    def broker(self) -> str:
        """Whether hints of work can be sent."""
        if away := [each for each in self._parts_away() if each.startswith("broker")]:
            raise Wrong(f"{away[0]}.", "Start Redis or Valkey, or correct BROKER_URL of API and worker.")
        return "answers"

    def worker(self) -> str:
        """Whether anything takes the work."""
        away = self._parts_away()
        if any(each.startswith("broker") for each in away):
            raise Away("a broker")
        if away := [each for each in away if each.startswith("worker")]:
            raise Wrong(f"{away[0]}.", "Start one: `stagewise worker`, or `docker compose up worker`.")
        return "at least one answers"

    def _parts_away(self) -> list[str]:
        """By the API, which may be the only one that knows the broker; without it, by looking where BROKER_URL says."""
        if self._degraded is None:
            if not (self._settings.broker_url_setting or self._settings.broker_url_file):
                raise Away("an API that serves")
            self._degraded = degradations(self._settings.broker_url)
        return self._degraded

    def _ask(self, path: str, key: str | None = None) -> httpx2.Response:
        url = self._settings.api_url
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            return httpx2.get(url + path, headers=headers, timeout=API_SECONDS, trust_env=False)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise Wrong(f"{url} is no address: {error}", AT_WHAT_URL) from error
        except httpx2.HTTPError as error:
            advice = "Start it with `stagewise up` or `docker compose up`, or say with STAGEWISE_URL where it is."
            raise Wrong(f"{url} does not answer: {error}", advice) from error

    def _answered(self) -> httpx2.Response:
        if self._api is None:
            raise Away("an API")
        return self._api


def _object(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty when it is anything else."""
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
