"""The part of wasmtime's C API that the engine calls, each prototype stated once.

wasmtime-py (49) wraps no asynchronous call, no continuation and no store limit the way the engine
needs them, and its wrappers cost more than the calls. All pointers here are plain integers. This
module knows signatures, layouts and ownership; it holds no policy and no state.

What the C API does not say, and the engine relies on (each has a test):

1. Arguments of a call are only cloned: they may lie in memory that Python owns, and must stay
   there until the call's future is gone.
2. Results are written by Rust assignment, which drops the former value of the slot: a slot starts
   zeroed, and is zeroed again after `val_delete`, else the next call frees it twice.
3. What a host function writes as its result is dropped by Rust: it must come from Rust's
   allocator. `val_clone` from a value in Python's memory makes exactly that.
4. A host function's arguments are freed when its callback returns, although the header promises
   more: they are read inside the callback.
5. A host function's result slot lives until its continuation has said "done", and no longer than
   the call's future.
6. `err_out` of an asynchronous host function is a stack slot of the callback: a host function
   cannot fail after it suspended. Whoever wants that drops the call's future.
7. The waker behind a future is empty: nobody says when to poll. One polls once for each completed
   host operation, and again after the guest yielded at an epoch.
8. Callbacks run on the guest's own stack, which is small: a callback reads its arguments, notes
   what to do, and returns.
9. No store is touched while a future of it lives; dropping an unfinished future poisons the store.
   Its table of handles is: a handle is made for the result of a host function that suspended.
10. Invalid UTF-8, a surrogate as `char`, NULL with a size, and streams, futures and error contexts
    inside values abort the process: `hosts.engine.values` refuses them before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_bool, c_char_p, c_int, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

from wasmtime import _bindings, _ffi

from hosts.engine.interpreter import check_interpreter

VAL_SIZE = 32
"""Bytes of a `wasmtime_component_val_t`: kind (u8) at 0, payload at 8."""

RECORD_ENTRY_SIZE = 48
"""Bytes of a record's entry: length and address of the name, then the value."""

INSTANCE_SIZE = ctypes.sizeof(_bindings.wasmtime_component_instance)
FUNC_SIZE = ctypes.sizeof(_bindings.wasmtime_component_func)

BYTES_HEADER = bytes.__basicsize__ - 1
"""Offset of the content in a CPython `bytes` object (its `__basicsize__` counts the final NUL)."""


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """Return the named C function; it releases the interpreter lock while it runs."""
    prototype = ctypes.CFUNCTYPE(result, *arguments)
    return prototype((name, _ffi.dll))


def _short(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """Return the named C function, which keeps the interpreter lock: it runs for no time at all.

    It must run no guest. Releasing and taking the lock costs more than these functions do.
    """
    prototype = ctypes.PYFUNCTYPE(result, *arguments)
    return prototype((name, _ffi.dll))


# --- errors -------------------------------------------------------------------------------------
error_new = _function("wasmtime_error_new", c_void_p, c_char_p)
error_delete = _function("wasmtime_error_delete", None, c_void_p)
error_message = _function("wasmtime_error_message", None, c_void_p, c_void_p)
error_exit_status = _function("wasmtime_error_exit_status", c_bool, c_void_p, c_void_p)
byte_vec_delete = _function("wasm_byte_vec_delete", None, c_void_p)

# --- configuration and engine -------------------------------------------------------------------
config_concurrency_support = _function(
    "wasmtime_config_concurrency_support_set", None, c_void_p, c_bool
)
config_async_stack_size = _function(
    "wasmtime_config_async_stack_size_set", None, c_void_p, c_size_t
)
config_consume_fuel = _function("wasmtime_config_consume_fuel_set", None, c_void_p, c_bool)
config_strategy = _function("wasmtime_config_strategy_set", None, c_void_p, c_uint8)
pool_config_new = _function("wasmtime_pooling_allocation_config_new", c_void_p)
pool_config_delete = _function("wasmtime_pooling_allocation_config_delete", None, c_void_p)
config_pooling = _function("wasmtime_pooling_allocation_strategy_set", None, c_void_p, c_void_p)


def set_pool_config(pool: int, name: str, value: int) -> None:
    """Set a number in the configuration of a pool; which there are is in wasmtime's header."""
    setter = getattr(_bindings, f"_wasmtime_pooling_allocation_config_{name}_set")
    kind = setter.argtypes[1]  # 32 bits or as many as an address has
    _function(f"wasmtime_pooling_allocation_config_{name}_set", None, c_void_p, kind)(pool, value)


engine_increment_epoch = _function("wasmtime_engine_increment_epoch", None, c_void_p)

# --- store --------------------------------------------------------------------------------------
store_delete = _function("wasmtime_store_delete", None, c_void_p)
context_set_wasi = _function("wasmtime_context_set_wasi", c_void_p, c_void_p, c_void_p)
context_set_epoch_deadline = _short("wasmtime_context_set_epoch_deadline", None, c_void_p, c_uint64)
# Both return an error when the engine does not count fuel. The second writes a `uint64_t`.
context_set_fuel = _short("wasmtime_context_set_fuel", c_void_p, c_void_p, c_uint64)
context_get_fuel = _short("wasmtime_context_get_fuel", c_void_p, c_void_p, c_void_p)

# --- WASI configuration (consumed by `context_set_wasi`) ----------------------------------------
wasi_new = _function("wasi_config_new", c_void_p)
wasi_delete = _function("wasi_config_delete", None, c_void_p)
wasi_set_argv = _function("wasi_config_set_argv", c_bool, c_void_p, c_size_t, c_void_p)
wasi_set_env = _function("wasi_config_set_env", c_bool, c_void_p, c_size_t, c_void_p, c_void_p)
wasi_set_stdout_file = _function("wasi_config_set_stdout_file", c_bool, c_void_p, c_char_p)
wasi_set_stderr_file = _function("wasi_config_set_stderr_file", c_bool, c_void_p, c_char_p)
wasi_preopen_dir = _function(
    "wasi_config_preopen_dir", c_bool, c_void_p, c_char_p, c_char_p, c_bool
)

# --- linker -------------------------------------------------------------------------------------
linker_new = _function("wasmtime_component_linker_new", c_void_p, c_void_p)
linker_delete = _function("wasmtime_component_linker_delete", None, c_void_p)
linker_allow_shadowing = _function(
    "wasmtime_component_linker_allow_shadowing", None, c_void_p, c_bool
)
linker_add_wasip2 = _function("wasmtime_component_linker_add_wasip2", c_void_p, c_void_p)
linker_root = _function("wasmtime_component_linker_root", c_void_p, c_void_p)
linker_instance_add_instance = _function(
    "wasmtime_component_linker_instance_add_instance",
    c_void_p, c_void_p, c_char_p, c_size_t, c_void_p,
)  # fmt: skip
linker_instance_delete = _function("wasmtime_component_linker_instance_delete", None, c_void_p)
linker_instance_add_func = _function(
    "wasmtime_component_linker_instance_add_func",
    c_void_p, c_void_p, c_char_p, c_size_t, c_void_p, c_void_p, c_void_p,
)  # fmt: skip
linker_instance_add_func_async = _function(
    "wasmtime_component_linker_instance_add_func_async",
    c_void_p, c_void_p, c_char_p, c_size_t, c_void_p, c_void_p, c_void_p,
)  # fmt: skip


# --- resources ----------------------------------------------------------------------------------
resource_type_new_host = _function("wasmtime_component_resource_type_new_host", c_void_p, c_uint32)
resource_type_delete = _function("wasmtime_component_resource_type_delete", None, c_void_p)
resource_any_delete = _short("wasmtime_component_resource_any_delete", None, c_void_p)
linker_instance_add_resource = _function(
    "wasmtime_component_linker_instance_add_resource",
    c_void_p, c_void_p, c_char_p, c_size_t, c_void_p, c_void_p, c_void_p, c_void_p,
)  # fmt: skip


def _raw(name: str, result: Any) -> Callable[..., Any]:
    """Return the named C function for arguments that are ctypes objects, made beforehand.

    Nothing checks them, and a plain integer would be cut to 32 bits. What `from_param` of a type
    of ctypes returned costs least (`passed`); `bytes` stand for the address of their content, None
    for NULL. Keeps the interpreter lock.
    """
    prototype = ctypes.PYFUNCTYPE(result)
    return prototype((name, _ffi.dll))


passed: Callable[[int], Any] = c_void_p.from_param
"""Returns an address as an argument for a `_raw` function."""

count: Callable[[int], Any] = c_size_t.from_param
"""Returns a number as an argument for a `_raw` function."""

COUNT_AS_IT_IS_MAX = 2**31 - 1
"""Numbers that `_raw` functions take as they are."""

# --- making stores, for arguments of `_raw` ------------------------------------------------------
# Engine, and twice nothing.
store_new = _raw("wasmtime_store_new", c_void_p)
store_context = _raw("wasmtime_store_context", c_void_p)
# Store, and limits: bytes of a memory, elements of a table, instances, tables, memories.
store_limiter = _raw("wasmtime_store_limiter", None)
# Makes a guest yield at its epoch deadline instead of trapping, and sets the next deadline. The
# header promises an error as its result, the function returns nothing.
context_epoch_yield = _raw("wasmtime_context_epoch_deadline_async_yield_and_update", None)

limit: Callable[[int], Any] = c_int64.from_param
"""Returns a limit as an argument for `store_limiter`."""

epochs: Callable[[int], Any] = c_uint64.from_param
"""Returns a number of epochs as an argument for `context_epoch_yield`."""

# --- calls --------------------------------------------------------------------------------------
component_get_export_index = _function(
    "wasmtime_component_get_export_index", c_void_p, c_void_p, c_void_p, c_char_p, c_size_t
)
export_index_delete = _function("wasmtime_component_export_index_delete", None, c_void_p)
# Instance, context, index, address for the function.
instance_get_func = _raw("wasmtime_component_instance_get_func", c_bool)
# Linker, context, component, address for the instance, slot for the error: what begins it.
linker_instantiate_async = _raw("wasmtime_component_linker_instantiate_async", c_void_p)
# Function, context, arguments, their number, results, their number, slot for the error.
func_call_async = _raw("wasmtime_component_func_call_async", c_void_p)
# The same as below for arguments of `_raw`, for the way of every call: conversions would cost more
# than the functions do.
call_future_poll_held = ctypes.CFUNCTYPE(c_bool)(("wasmtime_call_future_poll", _ffi.dll))
call_future_delete_held = _raw("wasmtime_call_future_delete", None)
val_clone_held = _raw("wasmtime_component_val_clone", None)
val_delete_held = _raw("wasmtime_component_val_delete", None)
call_future_poll = _function("wasmtime_call_future_poll", c_bool, c_void_p)
call_future_delete = _short("wasmtime_call_future_delete", None, c_void_p)
val_clone = _short("wasmtime_component_val_clone", None, c_void_p, c_void_p)
val_delete = _short("wasmtime_component_val_delete", None, c_void_p)
# A handle of the host, and any handle: each is a box that has to be deleted.
resource_host_new = _short(
    "wasmtime_component_resource_host_new", c_void_p, c_bool, c_uint32, c_uint32
)
resource_host_rep = _raw("wasmtime_component_resource_host_rep", c_uint32)
resource_host_delete = _raw("wasmtime_component_resource_host_delete", None)
# Context, handle, address for the result: what they make of a handle replaces it in the store.
resource_any_to_host = _raw("wasmtime_component_resource_any_to_host", c_void_p)
resource_host_to_any = _raw("wasmtime_component_resource_host_to_any", c_void_p)

Callback = ctypes.CFUNCTYPE(
    c_void_p,  # an error, or NULL
    c_uint8,  # env
    c_uint8,  # context
    c_uint8,  # function type
    c_void_p,  # arguments
    c_uint8,  # their number
    c_void_p,  # results
)
"""A host function that answers at once. It must not raise.

Only arguments and results are looked at. The others are taken as bytes, which ctypes need not make
an object for.
C passes the number of results as a seventh argument. The type says it already, and the calling
conventions of x86-64 and AArch64 let a callee ignore what comes last.
"""

AsyncCallback = ctypes.CFUNCTYPE(
    None,
    c_void_p,  # env
    c_void_p,  # context
    c_void_p,  # function type
    c_void_p,  # arguments
    c_size_t,  # their number
    c_void_p,  # results
    c_size_t,  # their number
    c_void_p,  # error out
    c_void_p,  # continuation out: callback, env, finalizer
)
"""A host function. It must not raise: ctypes would print and go on with garbage."""

Destructor = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_uint32)
"""Takes env, context and the number of a resource of the host that the guest dropped."""

Continuation = ctypes.CFUNCTYPE(c_bool, c_void_p)
"""Asked at each poll whether a host function has completed; it has written the result then."""


_TEXT_OF_ONE = ctypes.create_string_buffer(b"1")

ALREADY_DONE = (
    ctypes.cast(ctypes.CDLL(None).strlen, c_void_p).value or 0,
    ctypes.addressof(_TEXT_OF_ONE),
)
"""A `Continuation` that says "done" at once, and its `env`: C counts one character, which costs
less than a callback that returns True. `check_layout` tries it."""


class _Vec(ctypes.Structure):
    _fields_ = (("size", c_size_t), ("data", c_void_p))


def pointer(managed: Any) -> int:
    """Return the address behind one of wasmtime-py's objects (`Engine`, `Component`, `Config`)."""
    address = ctypes.cast(managed.ptr(), c_void_p).value
    assert address, f"{type(managed).__name__} has no address"
    return address


def slot(pointed: c_void_p) -> memoryview:
    """Return a view whose item 0 is the address in a `c_void_p`, quicker than its attribute."""
    return memoryview(pointed).cast("B").cast("Q")


def callback_address(callback: Any) -> int:
    """Return the address of a callback, to be written into C memory. The callback must live on."""
    address = ctypes.cast(callback, c_void_p).value
    assert address, "a callback has an address"
    return address


def address_of_bytes(value: bytes) -> int:
    """Return where the content of a bytes object lies; the object must be kept alive meanwhile."""
    return id(value) + BYTES_HEADER


def take_error(error: int) -> tuple[str, int | None]:
    """Return the message of an error and its exit status, if it is a guest's exit; frees it."""
    message = _Vec()
    status = c_int(0)
    has_exited = error_exit_status(error, ctypes.addressof(status))
    error_message(error, ctypes.addressof(message))
    try:
        text = ctypes.string_at(message.data, message.size).decode("utf-8", "replace")
    finally:
        byte_vec_delete(ctypes.addressof(message))
        error_delete(error)
    return text, status.value if has_exited else None


def check_layout() -> None:
    """Refuse a wasmtime or an interpreter whose memory layout differs from what the engine writes.

    Raises:
        RuntimeError: sizes differ, or `bytes` objects are not laid out as in CPython.
    """
    sizes = {
        "wasmtime_component_val": VAL_SIZE,
        "wasmtime_component_valrecord_entry": RECORD_ENTRY_SIZE,
        "wasmtime_component_valmap_entry": 2 * VAL_SIZE,
        "wasmtime_async_continuation_t": 24,
    }
    for name, size in sizes.items():
        found = ctypes.sizeof(getattr(_bindings, name))
        if found != size:
            raise RuntimeError(f"{name} has {found} bytes, expected {size}: unsupported wasmtime")
    if _bindings.wasmtime_component_val.of.offset != 8:
        raise RuntimeError("a value's payload is not at offset 8: unsupported wasmtime")
    function, env = ALREADY_DONE
    if Continuation(function)(env) is not True:
        raise RuntimeError("strlen is not taken for a continuation: unsupported calling convention")
    probe = b"layout probe"
    if ctypes.string_at(address_of_bytes(probe), len(probe)) != probe:
        raise RuntimeError("bytes objects are not laid out as expected: CPython is needed")


byte_vec_new = _raw("wasm_byte_vec_new", None)
"""Writes to an address size and address of a copy, which Rust owns, of so many bytes."""

check_interpreter()
check_layout()
