"""An event loop for asyncio that waits for pollables of `wasi:io`, as guests in Python use them."""

import asyncio
from collections import deque

from wit_world.imports import poll


class PollLoop(asyncio.AbstractEventLoop):
    """Runs one coroutine; what it awaits are pollables and other coroutines."""

    def __init__(self):
        self._ready = deque()
        self._waiting = []  # pollables, each with the future that is done when it is ready

    def run_until_complete(self, coroutine):
        """Return what the coroutine returns."""
        asyncio.events._set_running_loop(self)
        try:
            task = self.create_task(coroutine)
            while not task.done():
                if not self._ready:
                    self._poll()
                self._ready.popleft()._run()
            return task.result()
        finally:
            asyncio.events._set_running_loop(None)

    async def until_ready(self, pollable):
        """Return when a pollable is ready, and drop it."""
        future = self.create_future()
        self._waiting.append((pollable, future))
        await future

    def _poll(self):
        ready = set(poll.poll([pollable for pollable, _ in self._waiting]))
        waiting, self._waiting = self._waiting, []
        for place, (pollable, future) in enumerate(waiting):
            if place in ready:
                pollable.__exit__(None, None, None)
                future.set_result(None)
            else:
                self._waiting.append((pollable, future))

    def create_task(self, coroutine, **more):
        return asyncio.Task(coroutine, loop=self, **more)

    def create_future(self):
        return asyncio.Future(loop=self)

    def call_soon(self, callback, *args, context=None):
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def is_running(self):
        return True

    def get_debug(self):
        return False

    def call_exception_handler(self, context):
        raise context.get("exception") or RuntimeError(context["message"])
