"""JSON from a web service that may be slow, busy, broken or hostile."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from icsg3d import __version__
from icsg3d.errors import InputError
from icsg3d.limits import FETCH_BYTES, FETCH_PAGES, FETCH_SECONDS, within_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OWN_MACHINE = {"localhost", "127.0.0.1", "::1"}


_GO_ON = "start again to continue with what has arrived"
"""Each fetch counts anew, and pages that have come are kept."""


class _LateError(InputError):
    """An answer was not there in time."""


@dataclass(frozen=True)
class Manners:
    """How politely a service is asked.

    Attributes:
        per_second: Most requests in a second, repeated ones included.
        retries: How often a request that failed is repeated.
        first_wait: Seconds before the first repetition; they double with each, up to ``longest_wait``.
        longest_wait: Seconds. A service that asks for a longer pause (``Retry-After``) ends the fetch.
        timeout: Seconds without a connection, and without a byte of the answer, that count as a failure.
        answer_seconds: Seconds in which an answer is there as a whole; a longer one counts as a failure.
        most_bytes: Largest answer that is read, unpacked.
        sleep: Waits for so many seconds.
        clock: Tells the time in seconds, from any start.
    """

    per_second: float = 4
    retries: int = 6
    first_wait: float = 1
    longest_wait: float = 300
    timeout: tuple[float, float] = (15, 120)
    answer_seconds: float = 900
    most_bytes: int = 1 << 28
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class _Failure:
    """Why a request gave nothing, and after how many seconds the service wants to be asked again, if it said so."""

    reason: str
    wait: float | None = None


class JsonService:
    """Asks a web service, one request after the other, and gives up only after several trials.

    One service object is one fetch: answers, bytes and seconds of all its requests together are bounded
    (:mod:`icsg3d.limits`), whatever a service announces.

    urllib3's ``Retry``, mounted below requests, repeats statuses and failed connections but not answers cut off in
    their middle, waits for as long as it is told, and hides the status at the end. So the repetition is done here, and
    only its reading of ``Retry-After`` is used.
    """

    def __init__(self, name: str, endpoint: str, secret: str, way_out: str, manners: Manners | None = None) -> None:
        """Prepare a session; nothing is asked yet.

        Args:
            name: Of the service, for messages.
            endpoint: Address that paths are appended to.
            secret: Sent as ``X-API-KEY``, over encrypted connections only; shown nowhere.
            way_out: What to do about a refused secret.
            manners: How politely to ask.

        Raises:
            InputError: if the endpoint is no address, or the secret would travel in the clear.
        """
        self.name = name
        self.endpoint = check_endpoint(endpoint)
        self.manners = manners or Manners()
        self._secret = secret
        self._way_out = way_out
        self._next = 0.0
        self._began = self.manners.clock()
        self._answers = 0
        self._bytes = 0
        self._session = requests.Session()
        self._session.headers.update({"X-API-KEY": secret, "User-Agent": f"icsg3d/{__version__}"})

    def __enter__(self) -> Self:
        """Return the service."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self._session.close()

    def get(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Return the object that a path answers with.

        Raises:
            InputError: if the request is refused, or fails time and again.
        """
        self._answers += 1
        FETCH_PAGES.check(self._answers, f"{self.name} would have to be asked for", _GO_ON)
        failure = _Failure("")
        for trial in range(self.manners.retries + 1):
            if trial:
                self._wait_after(failure, trial)
            self._keep_pace()
            self._check_time()
            answer = self._ask_in_time(path, parameters)
            if not isinstance(answer, _Failure):
                return answer
            failure = answer
        msg = (
            f"{self.name} gave no usable answer in {self.manners.retries + 1} trials ({failure.reason}); "
            "start again later, what has come is kept"
        )
        raise InputError(msg)

    def _check_time(self) -> None:
        passed = self.manners.clock() - self._began
        FETCH_SECONDS.check(math.ceil(passed), f"fetching from {self.name} takes", _GO_ON)

    def _keep_pace(self) -> None:
        pause = self._next - self.manners.clock()
        if pause > 0:
            self.manners.sleep(pause)
        self._next = self.manners.clock() + 1 / self.manners.per_second

    def _wait_after(self, failure: _Failure, trial: int) -> None:
        wait = failure.wait
        if wait is None:
            wait = min(self.manners.first_wait * 2 ** (trial - 1), self.manners.longest_wait)
        if wait > self.manners.longest_wait:
            msg = f"{self.name} asks for a pause of {wait:.0f} s; start again after it, what has come is kept"
            raise InputError(msg)
        self.manners.sleep(wait)

    def _ask_in_time(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any] | _Failure:
        """Ask, and take an answer that trickles in for too long as a failure."""
        late = _LateError(f"the answer was not there after {self.manners.answer_seconds:g} s")
        try:
            with within_seconds(self.manners.answer_seconds, late):
                return self._ask(path, parameters)
        except _LateError as error:
            return _Failure(str(error))

    def _ask(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any] | _Failure:
        url = f"{self.endpoint}/{path}"
        try:
            # A redirect is not followed: requests would take the key along to whatever host it names.
            with self._session.get(
                url, params=dict(parameters), timeout=self.manners.timeout, stream=True, allow_redirects=False
            ) as response:
                body = self._body(response)
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            msg = (
                f"{self.endpoint} cannot be asked ({self._quoted(str(error))}); correct the address or the certificates"
            )
            raise InputError(msg) from error
        except requests.RequestException as error:
            return _Failure(f"the connection failed: {self._quoted(str(error))}")
        if response.status_code == requests.codes.ok:
            return self._parsed(body)
        if response.status_code == requests.codes.too_many or response.status_code >= 500:
            reason = f"status {response.status_code}: {self._detail(body)}"
            return _Failure(reason, _retry_after(response.headers.get("Retry-After")))
        raise InputError(self._refusal(response.status_code, self._detail(body)))

    def _body(self, response: requests.Response) -> bytes:
        parts, size = [], 0
        for part in response.iter_content(1 << 18):
            size += len(part)
            self._bytes += len(part)
            FETCH_BYTES.check(self._bytes, f"{self.name} sent", _GO_ON)
            self._check_time()
            if size > self.manners.most_bytes:
                msg = f"{self.name} sent more than {self.manners.most_bytes >> 20} MiB at once; ask for fewer at a time"
                raise InputError(msg)
            parts.append(part)
        return b"".join(parts)

    def _parsed(self, body: bytes) -> dict[str, Any] | _Failure:
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:  # may be cut off or a proxy's page, so it is asked for again
            return _Failure(f"the answer is malformed: {self._quoted(str(error))}")
        return content if isinstance(content, dict) else _Failure("the answer is malformed: it is no JSON object")

    def _refusal(self, status: int, detail: str) -> str:
        if status in {requests.codes.unauthorized, requests.codes.forbidden}:
            return f"{self.name} refuses the key (status {status}: {detail}); {self._way_out}"
        if 300 <= status < 400:
            return (
                f"{self.endpoint} sends to another address (status {status}), which is not followed; give the new one"
            )
        return f"{self.name} does not understand the query (status {status}: {detail}); change it"

    def _detail(self, body: bytes) -> str:
        """Return what a service says about an error: FastAPI has it under ``detail``, gateways under other names."""
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return self._quoted(body[:100_000].decode(errors="replace"))
        if isinstance(content, dict):
            content = next((content[name] for name in ("detail", "message", "error") if name in content), content)
        return self._quoted(content if isinstance(content, str) else json.dumps(content))

    def _quoted(self, text: str) -> str:
        """Return a service's words fit for a message: short, on one line, printable, without the secret."""
        hidden = text.replace(self._secret, "***") if self._secret else text
        words = "".join(letter if letter.isprintable() else " " for letter in hidden[:2000]).split()
        line = " ".join(words) or "no reason given"
        return line if len(line) <= 200 else f"{line[:200]} ..."


def check_endpoint(endpoint: str) -> str:
    """Return an address without the slash at its end.

    Raises:
        InputError: if it is no address, or names another machine without encryption.
    """
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if host is None or parts.scheme not in {"http", "https"} or parts.query or parts.fragment or parts.username:
        msg = f"{endpoint!r} is no address of a web service; give one such as https://api.materialsproject.org"
        raise InputError(msg)
    if parts.scheme == "http" and host not in _OWN_MACHINE:
        msg = f"{endpoint} would get the key unencrypted; give an address that begins with https://"
        raise InputError(msg)
    return endpoint.rstrip("/")


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header, which has a number or a date; None if it says nothing."""
    if value is None:
        return None
    try:
        return Retry().parse_retry_after(value)
    except (InvalidHeader, ValueError, OverflowError):
        return None
