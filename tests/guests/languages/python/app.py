"""The guest of ../guest.wit in Python."""

import os
import random
import sys
import time

import wit_world
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import catalog
from wit_world.imports.types import (
    Change_Add,
    Change_Clear,
    Change_Rename,
    Change_Tag,
)

COUNT_MAX = 2**64 - 1


class Stock(exports.Stock):
    def apply(self, name, changes):
        item = catalog.find(name)
        if item is None:
            raise Err(f"no {name}")
        for change in changes:
            match change:
                case Change_Clear():
                    item.note = None
                case Change_Add(count):
                    if count > COUNT_MAX - item.count:
                        raise Err(f"too many {item.name}")
                    item.count += count
                case Change_Rename(name):
                    item.name = name
                case Change_Tag(tags):
                    item.tags += tags
        return item


class WitWorld(wit_world.WitWorld):
    def handle(self, text):
        return f"Hello, {text}!"

    def probe(self, what):
        match what:
            case "print":
                print("to out")  # noqa: T201 (that is probed)
                print("to err", file=sys.stderr)  # noqa: T201 (that too)
                return "printed"
            case "env":
                return os.environ.get("GUEST", "")
            case "args":
                return " ".join(sys.argv)
            case "clock":
                return str(int(time.time() * 1000))
            case "random":
                return str(random.SystemRandom().getrandbits(64))
            case "file":
                try:
                    with open("/files/greeting", encoding="utf-8") as file:
                        return file.read()
                except OSError:
                    return ""
        return "none"
