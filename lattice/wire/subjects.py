"""Every subject, bucket, stream and queue name of a lattice; no other module spells one.

Tokens: bytes outside `[A-Za-z0-9-]` are written `_hh` in hex, so that any name becomes exactly one
token and can be read back. Functions at the root of a component use the interface token `_`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from lattice.errors import InvalidError
from lattice.model.wit import ROOT, interface_key

ROOT_TOKEN = "_"  # noqa: S105 - a token of a subject, no secret
"""Stands for "no interface": no escaped name is a lone underscore."""

CALL_QUEUE = "inv"
"""The queue group of hosts that answer `inv.<deployment>.>`; one member takes each call."""

HTTP_QUEUE = "http"
"""The queue group of hosts that answer `http.<deployment>`; one member takes each request."""

DESIRED = "desired"
"""What the keys of desired states begin with."""

ROUTE = "route"
"""What the keys of routes begin with."""

API_QUEUE = "api"
"""The queue group of schedulers that answer `api.>`."""

CACHED_MAX = 4096
"""Names and subjects whose tokens are remembered: a call makes several, and they repeat."""

JobPlace = Literal["at", "call", "done", "*"]
"""Where a durable job lies in its stream; `*` for any."""

_UNSAFE = re.compile(r"[^A-Za-z0-9-]+")
_ESCAPED = re.compile(rb"_([0-9a-f]{2})")
_MALFORMED = re.compile(r"_(?![0-9a-f]{2})")


@lru_cache(CACHED_MAX)
def token(text: str) -> str:
    """Return the subject token of a name; `untoken` reads it back."""
    return _UNSAFE.sub(
        lambda run: "".join(f"_{b:02x}" for b in run[0].encode("utf-8", "surrogatepass")), text
    )


@lru_cache(CACHED_MAX)
def untoken(text: str) -> str:
    """Return the name that a token stands for.

    Raises:
        InvalidError: the token is not one that `token` makes.
    """
    if malformed := _MALFORMED.search(text):
        raise InvalidError(f"{text!r} is not an escaped token at position {malformed.start()}")
    try:
        return _ESCAPED.sub(lambda code: bytes((int(code[1], 16),)), text.encode()).decode()
    except UnicodeError:
        raise InvalidError(f"{text!r} does not escape UTF-8") from None


@lru_cache(CACHED_MAX)
def interface_token(interface: str) -> str:
    """Return the token of an interface: base and semver track, so that patch versions meet."""
    return ROOT_TOKEN if interface == ROOT else token(interface_key(interface))


@dataclass(frozen=True, slots=True)
class CallTarget:
    """What a call subject says: deployment, interface key (`""` for the root) and function.

    `host` and `generation` are set when the caller chose the replica's host itself.
    """

    deployment: str
    interface: str
    function: str
    host: str = ""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one lattice."""

    lattice: str

    @property
    def prefix(self) -> str:
        """Return what all subjects of this lattice begin with."""
        return f"lat.{token(self.lattice)}"

    # --- requests -------------------------------------------------------------------------

    def api(self, verb: str) -> str:
        """Answered by any scheduler; `*` for all verbs."""
        return f"{self.prefix}.api.{verb}"

    def lead(self, verb: str) -> str:
        """Answered by the active scheduler; `*` for all verbs."""
        return f"{self.prefix}.lead.{verb}"

    def ping(self) -> str:
        """Answered by every host."""
        return f"{self.prefix}.ctl.ping"

    def host_control(self, host: str, verb: str) -> str:
        """Answered by one host; `*` for all verbs."""
        return f"{self.prefix}.ctl.host.{token(host)}.{verb}"

    def heartbeat(self, host: str) -> str:
        """A host's report, answered by the active scheduler; `*` for all hosts."""
        return f"{self.prefix}.hb.{host if host == '*' else token(host)}"

    @lru_cache(CACHED_MAX)  # noqa: B019 - of a value, of which a process has one
    def call(self, deployment: str, interface: str, function: str) -> str:
        """A typed call to any ready replica, in the queue group `CALL_QUEUE`."""
        return (
            f"{self.prefix}.inv.{token(deployment)}.{interface_token(interface)}.{token(function)}"
        )

    def calls_of(self, deployment: str) -> str:
        """All calls to a deployment, for its hosts to subscribe."""
        return f"{self.prefix}.inv.{token(deployment)}.>"

    def call_at(
        self, host: str, deployment: str, generation: int, interface: str, function: str
    ) -> str:
        """A typed call to a replica on a host that the caller chose."""
        return (
            f"{self.prefix}.at.{token(host)}.{token(deployment)}.{generation}"
            f".{interface_token(interface)}.{token(function)}"
        )

    def calls_at(self, host: str) -> str:
        """All that is meant for this host by name: calls, HTTP requests, frames of exchanges."""
        return f"{self.prefix}.at.{token(host)}.>"

    def typed_calls_at(self, host: str) -> str:
        """All of `call_at` on a host, and nothing else of what is below `calls_at`."""
        return f"{self.prefix}.at.{token(host)}.*.*.*.*"

    def misaimed_at(self, host: str) -> tuple[str, ...]:
        """What is meant for this host and cannot be anything: whoever asks is told so."""
        at = f"{self.prefix}.at.{token(host)}"
        return (f"{at}.*", f"{at}.*.*", f"{at}.*.*.*.*.>")

    def departure(self, deployment: str, call: str) -> str:
        """Tells the hosts of a deployment that the caller of a call has left; `*` for any call.

        `call` is the invocation's id, which is one token.
        """
        return f"{self.prefix}.left.{token(deployment)}.{call}"

    def every_departure(self) -> str:
        """Match all of `departure`."""
        return f"{self.prefix}.left.*.*"

    @lru_cache(CACHED_MAX)  # noqa: B019 - of a value, of which a process has one
    def parse_call(self, subject: str) -> CallTarget:
        """Return what a subject of `call` or `call_at` names.

        Raises:
            InvalidError: it is neither.
        """
        tokens = subject.removeprefix(self.prefix + ".").split(".")
        match tokens:
            case ["inv", deployment, interface, function]:
                return CallTarget(untoken(deployment), _interface(interface), untoken(function))
            case ["at", host, deployment, generation, interface, function] if generation.isdigit():
                return CallTarget(
                    untoken(deployment),
                    _interface(interface),
                    untoken(function),
                    untoken(host),
                    int(generation),
                )
            case _:
                raise InvalidError(f"{subject!r} is not the subject of a call")

    # --- requests over HTTP ----------------------------------------------------------------

    def http(self, deployment: str) -> str:
        """An HTTP request to any ready replica, in the queue group `HTTP_QUEUE`."""
        return f"{self.prefix}.http.{token(deployment)}"

    def http_at(self, host: str, deployment: str, generation: int) -> str:
        """An HTTP request to a replica on a host that the asker chose."""
        return f"{self.prefix}.at.{token(host)}.{token(deployment)}.{generation}.http"

    def every_http_at(self, host: str) -> str:
        """All HTTP requests whose askers chose this host."""
        return f"{self.prefix}.at.{token(host)}.*.*.http"

    def http_lanes(self, host: str, process: str, lane: str = "*") -> str:
        """Where one process of a host takes the frames of one streamed exchange, or of all.

        `process` begins with a letter, so that it is no generation.
        """
        return f"{self.prefix}.at.{token(host)}.http.{process}.{lane}"

    def is_http_lane(self, subject: str) -> bool:
        """Tell whether a subject is one of a single lane in `http_lanes`."""
        tokens = subject.removeprefix(self.prefix + ".").split(".")
        if len(tokens) != 5 or "*" in tokens:
            return False
        return tokens[0] == "at" and tokens[2] == "http" and tokens[4] != "http"

    def parse_http(self, subject: str) -> CallTarget:
        """Return what a subject of `http` or `http_at` names; interface and function are empty.

        Raises:
            InvalidError: it is neither.
        """
        tokens = subject.removeprefix(self.prefix + ".").split(".")
        match tokens:
            case ["http", deployment]:
                return CallTarget(untoken(deployment), "", "")
            case ["at", host, deployment, generation, "http"] if generation.isdigit():
                return CallTarget(untoken(deployment), "", "", untoken(host), int(generation))
            case _:
                raise InvalidError(f"{subject!r} is not the subject of an HTTP request")

    # --- large bodies of calls ------------------------------------------------------------

    def large_at(self, host: str, process: str, transfer: str = "*") -> str:
        """Where one process of a host takes the parts of one large body, or of all.

        `process` begins with a letter, so that it is no generation.
        """
        return f"{self.prefix}.at.{token(host)}.large.{process}.{transfer}"

    def stream_at(self, host: str, process: str, call: str = "*") -> str:
        """Where one process of a host is asked about one call that streams bytes, or about all.

        `process` begins with a letter, so that it is no generation.
        """
        return f"{self.prefix}.at.{token(host)}.stream.{process}.{call}"

    # --- families, for permissions ----------------------------------------------------------

    def every_call(self) -> str:
        """Match all of `call`."""
        return f"{self.prefix}.inv.>"

    def every_call_at(self) -> str:
        """Match all of `call_at`, on any host."""
        return f"{self.prefix}.at.>"

    def every_http(self) -> str:
        """Match all of `http`."""
        return f"{self.prefix}.http.*"

    def every_control(self) -> str:
        """Match `ping` and all of `host_control`, of any host."""
        return f"{self.prefix}.ctl.>"

    # --- one-way --------------------------------------------------------------------------

    def event(self, kind: str, entity: str) -> str:
        """An event: `kind` is one token such as `host-joined`, `entity` any name."""
        return f"{self.prefix}.evt.{token(kind)}.{token(entity)}"

    def events(self) -> str:
        """All events."""
        return f"{self.prefix}.evt.>"

    def disconnects(self) -> str:
        """What NATS tells of connections that ended, where its accounts pass it on."""
        return f"{self.prefix}.gone"

    def log(self, deployment: str, host: str) -> str:
        """Log lines of a deployment (`""`: of the host itself) on a host; `*` for any of either."""
        left = deployment if deployment == "*" else (token(deployment) or ROOT_TOKEN)
        return f"{self.prefix}.log.{left}.{host if host == '*' else token(host)}"

    # --- stores ---------------------------------------------------------------------------

    @property
    def control_bucket(self) -> str:
        """Desired state, targets, `leader` and `term`."""
        return f"lat_{self.lattice}_ctl"

    @property
    def hosts_bucket(self) -> str:
        """Inventories."""
        return f"lat_{self.lattice}_hosts"

    @property
    def artifacts_bucket(self) -> str:
        """Components, models and files by digest (an object store)."""
        return f"lat_{self.lattice}_artifacts"

    def intake(self, store: Literal["ctl", "artifacts"], secret: str) -> str:
        """What the subjects begin with on which a guarded store takes writes.

        `secret` is a random token that only those know who may write there; `*` for any.
        """
        return f"{self.prefix}.intake.{store}.{secret}"

    @property
    def events_stream(self) -> str:
        """The stream that keeps events."""
        return f"LAT_{self.lattice}_EVENTS"

    # --- durable jobs ---------------------------------------------------------------------

    @property
    def jobs_stream(self) -> str:
        """The stream that keeps durable jobs and their outcomes."""
        return f"LAT_{self.lattice}_JOBS"

    def job(self, state: JobPlace, deployment: str, lane: str, job: str) -> str:
        """Where the stream keeps a job: to come (`at`), to be run (`call`), or ended (`done`).

        `*` stands for any state, deployment, lane or job.
        """
        return f"{self.prefix}.job.{_job_tail(state, deployment, lane, job)}"

    def jobs(self, state: JobPlace | Literal[""] = "") -> str:
        """All of `job`, or all of one state."""
        return f"{self.prefix}.job.{state}.>" if state else f"{self.prefix}.job.>"

    def job_signal(self, state: JobPlace, deployment: str, lane: str, job: str) -> str:
        """What the server publishes once it has stored what came to `job`; `*` as there."""
        return f"{self.prefix}.jobs.{_job_tail(state, deployment, lane, job)}"

    def job_signals(self) -> str:
        """All of `job_signal`."""
        return f"{self.prefix}.jobs.>"

    def parse_job(self, subject: str) -> tuple[str, str, str, str]:
        """Return state, deployment, lane and job of a subject of `job` or `job_signal`.

        Raises:
            InvalidError: it is neither.
        """
        match subject.removeprefix(self.prefix + ".").split("."):
            case ["job" | "jobs", state, deployment, lane, job]:
                return state, untoken(deployment), lane, untoken(job)
            case _:
                raise InvalidError(f"{subject!r} is not the subject of a durable job")


LEADER = "leader"
"""Control key: who leads now; renewed."""

TERM = "term"
"""Control key: written only at acquisition; its revision is the epoch and the fence."""


RESTORE = f"{DESIRED}._restore"
"""Control key in the family of desired state: a backup is being written. It is no deployment's."""


def desired(deployment: str) -> str:
    """Control key of a deployment's desired state."""
    return f"{DESIRED}.{deployment}"


def history(deployment: str, generation: int) -> str:
    """Control key of one generation of a deployment; never changed once written."""
    return f"history.{deployment}.{generation}"


def status(deployment: str) -> str:
    """Return the key of what the leader remembers of a deployment."""
    return f"status.{deployment}"


def route(deployment: str) -> str:
    """Return the key of how a deployment's calls are divided."""
    return f"{ROUTE}.{deployment}"


def target(host: str) -> str:
    """Control key of what a host should run."""
    return f"target.{host}"


def _job_tail(state: str, deployment: str, lane: str, job: str) -> str:
    left = deployment if deployment == "*" else token(deployment)
    return f"{state}.{left}.{lane}.{job if job == '*' else token(job)}"


def _interface(interface_or_root: str) -> str:
    return ROOT if interface_or_root == ROOT_TOKEN else untoken(interface_or_root)
