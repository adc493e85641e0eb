"""The core of streamed exchanges under loss and repetition: bounded, in order, never stuck."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from hosts.http.flow import (
    BUDGET_BYTES,
    WINDOW_BYTES,
    WINDOW_BYTES_MIN,
    Budget,
    Inflow,
    Outflow,
)

WINDOW = 64


@dataclass
class Channel:
    """Two sides and what lies between them. Frames: (kind, number or total, size)."""

    outflow: Outflow = field(default_factory=lambda: Outflow(granted=WINDOW))
    inflow: Inflow = field(default_factory=lambda: Inflow(window=WINDOW))
    data: list[tuple[str, int, int]] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    lost: int = 0
    is_broken: bool = False

    def check(self) -> None:
        self.outflow.check()
        self.inflow.check()
        in_memory = sum(self.unread)
        assert in_memory <= WINDOW, "what lies unread is bounded by the window"

    def send(self, size: int) -> None:
        size = min(size, self.outflow.room)
        if size:
            self.data.append(("data", self.outflow.send(size), size))

    def beat(self) -> None:
        self.data.append(("beat", self.outflow.sent_frames, 0))
        self.words.append(self.inflow.granted)

    def carry(self, fate: str) -> None:
        """Let the oldest frame arrive, be lost, or arrive twice."""
        if not self.data:
            return
        kind, number, size = self.data.pop(0)
        if fate == "lost":
            self.lost += kind == "data"
            return
        for _ in range(2 if fate == "twice" else 1):
            if kind == "beat":
                verdict = self.inflow.told(number)
            else:
                verdict = self.inflow.arrive(number, size)
                if verdict == "take":
                    self.unread.append(size)
            self.is_broken |= verdict == "broken"

    def hear(self, fate: str) -> None:
        """Let the oldest word of credit arrive, be lost, or arrive twice."""
        if self.words:
            word = self.words.pop(0)
            for _ in range({"lost": 0, "twice": 2}.get(fate, 1)):
                self.outflow.grant(word)

    def read(self) -> None:
        if self.unread:
            size = self.unread.pop(0)
            self.taken.append(size)
            granted = self.inflow.take(size)
            if granted is not None:
                self.words.append(granted)


FATES = st.sampled_from(("fine", "fine", "fine", "lost", "twice"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 40)),
        st.tuples(st.just("carry"), FATES),
        st.tuples(st.just("hear"), FATES),
        st.tuples(st.sampled_from(("beat", "read"))),
    ),
    max_size=200,
)


@given(STEPS)
def test_loss_breaks_an_exchange_and_nothing_else_does(steps) -> None:
    channel = Channel()
    for name, *args in steps:
        getattr(channel, name)(*args)
        channel.check()
        if channel.is_broken:
            break
    assert not channel.is_broken or channel.lost
    # What is said again and again arrives in the end, and tells of every hole.
    for _ in range(3):
        channel.beat()
        while channel.data:
            channel.carry("fine")
        while channel.words:
            channel.hear("fine")
    assert channel.is_broken == bool(channel.lost)


@given(STEPS, st.integers(1, 3 * WINDOW))
def test_credit_that_was_lost_comes_again_so_that_nobody_waits_for_ever(steps, size: int) -> None:
    channel = Channel()
    for name, *args in steps:
        if name == "carry" and args == ["lost"]:
            continue  # data arrives; only credit is lost here
        getattr(channel, name)(*args)
    sent = 0
    for _ in range(20):
        if sent >= size:
            break
        before = channel.outflow.sent_bytes
        channel.send(size - sent)
        sent += channel.outflow.sent_bytes - before
        channel.beat()
        while channel.data:
            channel.carry("fine")
        while channel.unread:
            channel.read()
        channel.words = channel.words[-1:]  # all but the last word are lost
        channel.hear("fine")
        channel.beat()
        channel.hear("fine")
        channel.check()
    assert sent >= size
    assert not channel.is_broken


def test_a_sender_that_keeps_no_limit_is_given_up() -> None:
    inflow = Inflow(window=10)
    assert inflow.arrive(0, 10) == "take"
    assert inflow.arrive(1, 1) == "broken"


def test_nothing_comes_behind_the_end() -> None:
    inflow = Inflow(window=10)
    assert inflow.arrive(0, is_end=True) == "take"
    assert inflow.arrive(1, 1) == "broken"
    assert inflow.take(0) is None


@given(st.lists(st.booleans(), max_size=2000))
def test_all_windows_together_stay_within_the_budget(steps: list[bool]) -> None:
    budget = Budget()
    windows: list[int] = []
    for is_new in steps:
        if is_new:
            windows.append(budget.take())
            assert WINDOW_BYTES_MIN <= windows[-1] <= WINDOW_BYTES
        elif windows:
            budget.give_back(windows.pop(len(windows) // 2))
        assert sum(windows) <= BUDGET_BYTES + len(windows) * WINDOW_BYTES_MIN
    for window in windows:
        budget.give_back(window)
    assert budget == Budget()


def test_a_body_alone_has_a_whole_window_and_a_thousand_have_little_each() -> None:
    budget = Budget()
    assert budget.take() == WINDOW_BYTES
    total = sum(budget.take() for _ in range(1000))
    assert total < 42 * 1024 * 1024
