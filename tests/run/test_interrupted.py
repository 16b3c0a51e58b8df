"""A sample of the sweep: signals at system calls of a launch leave nothing (tests.run.sweep does all of them)."""

import signal
from pathlib import Path
from typing import Any

import pytest

from .sweep import sweep


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_l14_a_signal_at_a_system_call_of_a_launch_leaves_nothing(small_root: Path, number: Any) -> None:
    with sweep(small_root) as swept:
        calls = swept.calls()
        assert len(calls) > 100
        sample = calls[number % 16 :: 16]
        assert {call: problems for call in sample if (problems := swept.interrupt(number, call))} == {}
