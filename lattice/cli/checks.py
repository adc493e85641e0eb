"""What one check of `lattice doctor` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Result = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One fact that was looked at; `fix` says what to do and is empty when it is ok."""

    name: str
    result: Result
    found: str
    fix: str = ""
