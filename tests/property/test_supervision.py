"""What a supervisor keeps to, whatever happens to its workers."""

from __future__ import annotations

import signal
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hosts.accusing import ABORT_WINDOW_S, ABORTS_MAX
from hosts.supervision import RESPAWN_FIRST_S, RESPAWN_LONGEST_S, STALLED_LOOKS, STOP_S, Supervision
from hosts.supervision_events import (
    Abort,
    Began,
    Ended,
    Finish,
    Joined,
    Kill,
    Looked,
    Quarantine,
    Start,
    StopWanted,
    Terminate,
    Ticked,
)
from lattice.model.ids import Digest

DIGESTS = [Digest(f"sha256:{letter * 64}") for letter in "abcd"]

steps = st.lists(
    st.tuples(
        st.floats(0.0, 20.0),  # seconds since the step before
        st.sampled_from(["join", "end", "tick", "tick", "look", "stop"]),
        st.integers(0, 3),  # which worker
        st.sampled_from([0, 1, 4, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGKILL]),
        st.frozensets(st.sampled_from(DIGESTS)),
        st.booleans(),
    ),
    max_size=60,
)


class World:
    """Processes as the core's commands leave them; it refuses what makes no sense."""

    def __init__(self, count):
        self.core = Supervision(count=count)
        self.now_s = 0.0
        self.running = set()
        self.died_s = {}
        self.stopped_s = None
        self.status = None
        self.aborts = []
        self.handle(Began())

    def handle(self, event):
        commands = self.core.handle(self.now_s, event)
        self.core.check()
        for command in commands:
            assert self.status is None, "nothing is decided after the end"
            match command:
                case Start():
                    self.start(command.worker)
                case Terminate() | Abort() | Kill():
                    assert command.worker in self.running
                case Quarantine():
                    self.accuse(command)
                case Finish():
                    assert not self.running
                    self.status = command.status
        return commands

    def start(self, worker):
        assert self.stopped_s is None
        assert worker not in self.running, "one process for each worker"
        self.running.add(worker)
        assert len(self.running) <= self.core.count
        if worker in self.died_s:
            assert self.now_s >= self.died_s[worker] + RESPAWN_FIRST_S

    def end(self, worker, status, at_work, was_out_of_memory):
        self.running.remove(worker)
        self.died_s[worker] = self.now_s
        is_fault = status in (-signal.SIGABRT, -signal.SIGSEGV) or (
            status == -signal.SIGKILL and was_out_of_memory
        )
        if is_fault and not at_work & self.core.quarantined.keys():
            self.aborts.append((self.now_s, at_work))
        self.handle(
            Ended(
                worker=worker, status=status, at_work=at_work, was_out_of_memory=was_out_of_memory
            )
        )
        if self.core.workers[worker].start_at_s is not None:
            wait_s = self.core.workers[worker].start_at_s - self.now_s
            assert RESPAWN_FIRST_S <= round(wait_s, 6) <= RESPAWN_LONGEST_S
        recent = Counter(
            digest
            for at_s, present in self.aborts
            if self.now_s - at_s < ABORT_WINDOW_S
            for digest in present
        )
        assert all(count < ABORTS_MAX for count in recent.values()), "nobody guilty is left out"

    def accuse(self, command):
        for digest in command.added:
            found = [
                at_s
                for at_s, at_work in self.aborts
                if digest in at_work and self.now_s - at_s < ABORT_WINDOW_S
            ]
            assert len(found) == ABORTS_MAX, "exactly at the third, neither before nor after"
        self.aborts = [each for each in self.aborts if not each[1] & set(command.added)]


def run(count, script):
    world = World(count)
    for after_s, what, number, status, at_work, was_out_of_memory in script:
        if world.status is not None:
            break
        world.now_s += after_s
        worker = number % count
        if what == "join" and worker in world.running:
            world.handle(Joined(worker=worker))
        elif what == "end" and worker in world.running:
            world.end(worker, status, at_work, was_out_of_memory)
        elif what == "look":
            for _ in range(STALLED_LOOKS + 1):
                world.handle(Looked(worker=worker, ticks=1))
        elif what == "stop":
            world.stopped_s = world.now_s if world.stopped_s is None else world.stopped_s
            world.handle(StopWanted())
        elif what == "tick":
            world.handle(Ticked())
        if world.core.is_stopping and world.stopped_s is None:
            world.stopped_s = world.now_s
    return world


@given(st.integers(1, 4), steps)
def test_workers_waits_and_accusations_are_within_their_rules(count, script):
    run(count, script)


@given(st.integers(1, 4), steps)
def test_stopping_always_comes_to_an_end(count, script):
    world = run(count, script)
    if world.status is not None:
        return
    world.stopped_s = world.now_s
    world.handle(StopWanted())
    world.now_s += STOP_S
    world.handle(Ticked())
    for worker in sorted(world.running):
        world.end(worker, -signal.SIGKILL, frozenset(), False)
    assert world.status is not None
    assert world.core.next_due_s() is None


@given(st.integers(1, 4), steps)
def test_whoever_is_down_comes_back_when_it_is_due(count, script):
    world = run(count, script)
    if world.core.is_stopping:
        return
    world.now_s += RESPAWN_LONGEST_S
    world.handle(Ticked())
    assert all(worker.state != "waiting" for worker in world.core.workers)
