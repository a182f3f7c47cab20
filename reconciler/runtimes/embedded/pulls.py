"""A pull's progress in one line: "41.2MB of 78.8MB, 1 of 2 layers". For the executor's port; verbs see each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.text import plural
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable

_DONE = ("Pull complete", "Already exists")
_WHOLE = ("Download complete", "Extracting", *_DONE)


class Words:
    """Hears of layers and tells of all of them."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._layers: dict[str, tuple[str, int, int]] = {}
        self._told = ""

    def heard(self, layer: str, phase: str, done: int, total: int) -> None:
        """As `Images.pull` reports."""
        if phase == "Already exists":
            return
        self._layers[layer] = (phase, total if phase in _WHOLE else done, total)
        every = self._layers.values()
        came, whole = sum(one[1] for one in every), sum(one[2] for one in every)
        ready = sum(one[0] in _DONE for one in every)
        text = f"{human_size(came)} of {human_size(whole)}, {ready} of {plural(len(every), 'layer')}"
        if "retrying" in phase:
            text = phase
        if text != self._told:
            self._told = text
            self._tell(text)
