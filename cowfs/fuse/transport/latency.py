"""While requests come one after the other, idle processors stay where they are woken at once.

Who waits for an answer leaves his processor with nothing to do. In a virtual machine it halts then, which is an exit
to the hypervisor, and to wake it is more of them: 9 of the 16 microseconds of a getattr. The kernel takes wishes for
how long that may last (Documentation/power/pm_qos_interface.rst); 0 means that an idle processor polls. So that is
wished for while many requests come, and no longer: it costs power, and the host its processor time. The wish ends with
the descriptor. Real processors wake up by themselves; nothing is wished for there.
"""

import contextlib
import os
from pathlib import Path
from time import monotonic
from typing import Final

_DEVICE: Final = "/dev/cpu_dma_latency"
_DRIVER: Final = Path("/sys/devices/system/cpu/cpuidle/current_driver")
_OF_VIRTUAL_MACHINES: Final = "haltpoll"
_MOST: Final = 8  # processors: all idle ones poll, for one program that waits
_NONE: Final = (0).to_bytes(4, "little")  # microseconds
_ANY: Final = b"\xff" * 4
BURST: Final = 64  # requests
_WINDOW: Final = 0.03  # seconds in which so many of them are a burst


class Unneeded(Exception):
    """Idle processors do not halt here, or that cannot be changed; why."""


class Latency:
    """The wish. ``held``: it is in force, until ``until`` (``time.monotonic``) if nothing comes."""

    __slots__ = ("_device", "_last", "held", "until")

    def __init__(self) -> None:
        """Raises Unneeded."""
        try:
            driver = _DRIVER.read_text().strip()
            if driver != _OF_VIRTUAL_MACHINES:
                raise Unneeded(f"for virtual machines whose idle processors halt (cpuidle: {driver})")
            count = os.cpu_count() or 1
            if count > _MOST:
                raise Unneeded(f"{count} processors would poll, for one that waits")
            self._device = os.open(_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as failure:
            raise Unneeded(f"{failure.filename}: {failure.strerror}") from None
        self.held = False
        self.until = self._last = 0.0

    def came(self) -> None:
        """``BURST`` more requests came."""
        now = monotonic()
        if now - self._last < _WINDOW:
            self.until = now + _WINDOW
            if not self.held:
                self._wish(_NONE)
                self.held = True
        self._last = now

    def release(self) -> None:
        """They came, and no more do."""
        self._wish(_ANY)
        self.held = False

    def _wish(self, microseconds: bytes) -> None:
        with contextlib.suppress(OSError):  # no request may fail for that
            os.write(self._device, microseconds)
