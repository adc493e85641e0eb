"""What a host answers about itself."""

from __future__ import annotations

import pytest

from hosts.control import newest_fitting
from lattice.wire.codec import encode
from lattice.wire.requests import LogLine


@pytest.mark.parametrize("as_json", [False, True])
def test_of_too_many_log_lines_the_newest_that_fit_are_answered(as_json):
    lines = tuple(
        LogLine(time_s=1.0, level="info", deployment="d", host="H1", line=f"{number:04d}")
        for number in range(10)
    )
    size = len(encode(lines[0], as_json=as_json))
    assert newest_fitting(lines, 3 * size + 1, as_json=as_json) == lines[-3:]
    assert newest_fitting(lines, 10 * size, as_json=as_json) == lines
    assert newest_fitting(lines, size - 1, as_json=as_json) == ()
