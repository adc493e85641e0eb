"""Writes the source of what calls a guest's function: lower, begin, poll, delete, lift, in one.

A call that does not suspend, which is nearly every call, is one Python function with everything it
needs prepared: the calls of C take prebuilt arguments, and nothing is made but what differs. What
suspends, traps or needs care is handed to the instance (`hosts.engine.instance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hosts.engine.codec.handles import holds_handles
from hosts.engine.codec.lifting_source import write_values
from hosts.engine.codec.lowering_source import write_block
from hosts.engine.codec.source import Source
from lattice.component.types import Primitive, WitType, structure

_NEEDED = (
    "codec", "instance", "guest", "fibers", "target", "context", "result", "error_out", "error",
    "address",
)  # fmt: skip
"""What a binding is given, in this order: see `write_attempt`."""

TEXT_KEPT_MAX = 4096
"""Characters up to which a result that is a string is freed by the next call, which costs nothing;
all others are freed at once."""

_CALL = """\
        instance._is_busy = True
        if instance._epoch != ticker.epoch:
            instance._set_epoch_deadline(ticker.epoch)
        pointer = begin(target, context, block, arity, result, results, error_out)
        if turns.is_spent:
            return instance._suspend(pointer, None, (block, target), {kept})
        future = passed(pointer)
        # The same as `ticker.enter` and `leave`, without two calls.
        ticker.is_running = True
        if ticker.is_parked:
            ticker.unpark()
        scene.current = guest
        is_over = poll(future)
        scene.current = None
        ticker.is_running = False
        ticker.was_running = True
        if not is_over or error[0]:
            return instance._suspend(pointer, is_over, (block, target), {kept})
        delete(future)
        instance._is_busy = False
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is known of a function when its calls are written."""

    params: Sequence[WitType] | None  # None: the codec converts
    result: WitType | None  # None: the codec converts, if there is one
    has_result: bool
    holds_memory: bool  # somebody must free the result
    records: bool


def write_attempt(plan: Plan, source: Source) -> None:
    """Write `bind`, which returns for an instance the function from arguments to a result.

    `bind` takes `_NEEDED`: the codec, the instance, its guest and fibers; as arguments for C the
    function, the context, the slot of the result (None without one) and of the error; and as Python
    sees them the slot of the error and the address of that of the result.

    The namespace has the functions of C, and `LOWER` and `LIFT`, which convert what compiled code
    does not take.
    """
    source.line(0, f"def bind({', '.join(_NEEDED)}):")
    source.line(1, "ticker, turns, scene = fibers.ticker, fibers.turns, fibers.functions")
    source.line(1, "arity, results = count(codec.arity), count(codec.has_result)")
    source.line(1, "def attempt(args):")
    _write_table(plan.params, source)
    if plan.params is None:
        source.line(2, "block, keep = codec.lower_args(args)")
        kept = "keep"
    else:
        kept = write_block(plan.params, source, "args", "LOWER", 2, plan.records)
    source.text(_CALL.format(kept=kept))
    if condition := _condition(plan.params):
        source.line(2, f"if {condition}: release({kept})")
    source.line(2, "if guest.needs_care:")
    source.line(3, "return instance._end(codec)")
    if plan.has_result:
        _write_result(plan, source)
    source.line(1, "return attempt")


def _condition(types: Sequence[WitType] | None) -> str:
    """Return when values that the codec (None) or compiled code converts contain handles."""
    if types is None:
        return "codec.has_handles"
    return "True" if any(map(holds_handles, types)) else ""


def _write_table(types: Sequence[WitType] | None, source: Source) -> None:
    """Write what makes handles mean those of the instance."""
    if condition := _condition(types):
        source.line(2, f"if {condition}: TABLES.current = guest.handles")


def _write_result(plan: Plan, source: Source) -> None:
    """Write the end of a call that has a result."""
    is_text: str | None = "type(value) is str and "
    _write_table(None if plan.result is None else [plan.result], source)
    if plan.result is None:
        source.line(2, "value = codec.lift_result(address)")
    else:
        source.line(2, "try:")
        (value,) = write_values([plan.result], source, "address", 3, plan.records)
        source.line(3, f"value = {value}")
        source.line(2, "except MISFITS:")
        source.line(3, "value = LIFT(address)")
        is_text = "" if structure(plan.result) == Primitive("string") else None
    if plan.holds_memory:
        if is_text is not None:
            source.line(2, f"if {is_text}len(value) <= {TEXT_KEPT_MAX}:")
            source.line(3, "return value")
        # Its kind must be zero then, else it is freed twice.
        source.line(2, "val_delete(result)")
        source.line(2, "MEMORY[address] = 0")
    source.line(2, "return value")
