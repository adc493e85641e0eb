"""Keeps what runs the same as what lies on the disk: builds, checks, and puts into service.

A change is built while the version before goes on answering; only what was built and could be
started takes its place, so no request is lost and a mistake in the sources stops nothing. Sources
of live components are not built: a new version of them is checked and then chosen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from lattice.cli.building.making import make
from lattice.cli.building.project import Component, Project, read_project
from lattice.cli.dev.documents import Body, documents_of, services_of, with_live
from lattice.cli.dev.live import KINDS, Live, digest_of_sources, make_live, write_version
from lattice.cli.dev.places import Places
from lattice.cli.dev.state import Build, Problem, State
from lattice.client import LatticeClient
from lattice.errors import InvalidError, LatticeError, NotFoundError

log = logging.getLogger(__name__)

READY_S = 60.0
"""Seconds until a new generation must run: compiling a large component takes some of them."""

CHECK_S = 20.0
"""Seconds that loading the sources may take."""


@dataclass(slots=True, kw_only=True)
class _Running:
    """A live component and how far it has come."""

    live: Live
    digest: str = ""  # of the sources of the newest version
    newest: str = ""  # the version with these sources
    chosen: str = ""  # the version in service


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """One project in one embedded lattice."""

    place: Path  # of the project: its folder, or the only component
    sources: Path  # where versions of sources lie, as guests see them
    client: LatticeClient
    state: State
    places: Places
    project: Project | None = None
    _live: dict[Path, _Running] = field(default_factory=dict[Path, _Running])  # by image
    _applied: dict[str, Body] = field(default_factory=dict[str, Body])  # by deployment
    _prepared: anyio.Event = field(default_factory=anyio.Event)
    _made: dict[Path, str] = field(default_factory=dict[Path, str])  # image -> digest in service

    async def refresh(self, what: str) -> None:
        """Build what has changed and put it into service; a failure is told, not raised.

        Cancelling leaves what was in service before. `what` says what has changed, for people.
        """
        started_s, wall_s = time.monotonic(), time.time()
        self._prepared.set()
        try:
            is_new = await self._refresh()
        except Exception as error:  # the top of the work on one change
            if not isinstance(error, LatticeError):
                log.exception("the change cannot be put into service")
            problem, told = self._problem_of(error), self.state.problem
            if told is None or (told.title, told.text) != (problem.title, problem.text):
                self.state.note(problem)
            self.state.phase = "failed"
            is_good = False
        else:
            if not is_new and self.state.problem is None and self.state.version:
                self.state.phase = "ready"
                self.state.changed()
                return
            is_good = True
            self.state.succeed()
        took_s = time.monotonic() - started_s
        self.state.note(
            Build(
                time_s=wall_s,
                took_s=took_s,
                what=what,
                is_good=is_good,
                is_first=self.state.version == 0,
            )
        )

    async def can_give_way(self) -> None:
        """Return when no work is lost that a newer change of the sources needs as well."""
        await self._prepared.wait()

    async def _refresh(self) -> bool:
        """Return whether anything new is in service. `Raises:` LatticeError"""
        project = self.project = await anyio.to_thread.run_sync(read_project, self.place)
        documents = documents_of(project)
        services = services_of(documents)
        is_new = False
        for number, component in enumerate(project.components):
            if component.is_live and component.kind in KINDS:
                await self._prepare(project, component, number, component.image in services)
            else:
                built = await make(project, component, say=self.state.begin, is_debug=True)
                is_new |= self._made.get(component.image) != built.digest
                self._made[component.image] = built.digest
        images = {component.image for component in project.components}
        self._live = {image: each for image, each in self._live.items() if image in images}
        for running in self._live.values():
            await self._write(project, running)
        wanted = with_live(documents, self._by_path(), self._pinned())
        is_new |= await self._apply(project, wanted)
        for running in self._live.values():
            if not running.live.is_pinned:
                is_new |= await self._choose(running)
        return is_new

    # --- live components ------------------------------------------------------------------

    async def _prepare(
        self, project: Project, component: Component, number: int, is_service: bool
    ) -> None:
        """Have the component that runs these sources; one for other interfaces takes its place."""
        known = self._live.get(component.image)
        self._prepared = anyio.Event()
        try:
            live = await make_live(
                project,
                component,
                self.sources,
                number,
                is_pinned=is_service,
                say=self.state.begin,
                known=known.live if known else None,
            )
        finally:
            self._prepared.set()
        if known is None or known.live.key != live.key:
            self._live[component.image] = _Running(live=live)
        else:
            known.live = live

    def _pinned(self) -> dict[str, str]:
        """Return the newest versions of services by their keys; instances from now on have them."""
        found: dict[str, str] = {}
        for running in self._live.values():
            if running.live.is_pinned:
                found[running.live.key] = running.chosen = running.newest
                running.live.versions.choose(running.chosen)
        return found

    async def _write(self, project: Project, running: _Running) -> None:
        """Write a version if the sources are others than those of the newest."""
        component = running.live.component
        digest = await anyio.to_thread.run_sync(digest_of_sources, component)
        if digest == running.digest:
            return
        name = await write_version(running.live, project)
        self.places.learn(running.live)
        running.digest, running.newest = digest, name
        if not running.chosen:
            running.live.versions.choose(name)  # there is none that it could spoil

    async def _choose(self, running: _Running) -> bool:
        """Check the sources and choose them as what answers from now on; tell whether they did not.

        Raises:
            InvalidError: they cannot be loaded; the version before stays.
        """
        if running.newest == running.chosen:
            return False
        deployment = self._deployment_of(running.live)
        try:
            found = await self.client.call(
                deployment, running.live.check, [running.newest], deadline_s=CHECK_S
            )
            if found[0] == "err":
                name = running.live.component.name
                raise InvalidError(f"{name} cannot be loaded", [str(found[1]).strip()])
        except LatticeError:
            running.digest = ""  # the next look checks again
            raise
        running.live.versions.choose(running.newest)
        running.chosen = running.newest
        return True

    def _deployment_of(self, live: Live) -> str:
        image = str(live.image)
        for name, body in self._applied.items():
            parts = (*body.get("components", ()), *body.get("services", ()))
            if any(part["image"] == image for part in parts):
                return name
        raise NotFoundError(f"the manifest has no part with the image {live.component.image}")

    def _by_path(self) -> dict[str, Live]:
        return {str(image): running.live for image, running in self._live.items()}

    # --- the deployments ------------------------------------------------------------------

    async def _apply(self, project: Project, wanted: list[Body]) -> bool:
        """Have the deployments run as wanted; tell whether anything was changed.

        Raises:
            InvalidError: one is refused or cannot run; the generation before goes on.
            DeadlineExceededError: one is not ready in time.
        """
        is_new = False
        # First, since what takes the place of one may have its routes.
        for name in set(self._applied) - {str(body["name"]) for body in wanted}:
            await self.client.delete(name)
            del self._applied[name]
            is_new = True
        for body in wanted:
            name = str(body["name"])
            stamped = {**body, "labels": {**body.get("labels", {}), **self._stamp(body)}}
            if self._applied.get(name) == stamped:
                continue
            self.state.begin(f"starting {name} (new code is compiled first)")
            applied = await self.client.apply(body)
            await self.client.wait_ready(applied, timeout_s=READY_S)
            self._applied[name] = stamped
            is_new = True
        if is_new:
            self._show_routes(wanted)
        return is_new

    def _stamp(self, body: Body) -> Mapping[str, Any]:
        """Return the digests of a deployment's images: what is built has the path it had before."""
        parts = (*body.get("components", ()), *body.get("services", ()))
        paths = [Path(part["image"]) for part in parts]
        return {str(path): self._made.get(path) or _time_of(path) for path in paths}

    def _show_routes(self, documents: list[Body]) -> None:
        routes = [
            (f"{route.get('host', '')}{route.get('path', '/')}", str(body["name"]))
            for body in documents
            for route in body.get("http", ())
        ]
        self.state.routes = tuple(routes)
        is_worker = all(not body.get("components") for body in documents)
        hint = "No deployment answers requests: give one `http: [{path: /}]` in lattice.yaml."
        self.state.hint = "" if routes or is_worker else hint

    def _problem_of(self, error: Exception) -> Problem:
        told = str(error) if isinstance(error, LatticeError) else f"internal: {error!r}"
        title, _, rest = told.partition("\n")
        text = "\n".join(error.faults) if isinstance(error, InvalidError) else rest
        return Problem(
            title=self.places.shown(title),
            text=self.places.shown(text or title),
            time_s=time.time(),
            is_build=True,
        )


def _time_of(path: Path) -> str:
    """Return what tells a prebuilt component from the one that lay there before."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns} {found.st_size}"
