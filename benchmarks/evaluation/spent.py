"""Wall clock and processor time of this process and of the children it has waited for; nothing but Python's own."""

import os
import time


class Clock:
    """Runs from its making on."""

    def __init__(self) -> None:
        self._begun = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        times = os.times()
        return time.perf_counter(), sum(times[:4])

    def read(self) -> dict[str, float]:
        """Seconds of both kinds so far."""
        seconds, cpu = (now - then for now, then in zip(self._now(), self._begun, strict=True))
        return {"seconds": seconds, "cpu": cpu}
