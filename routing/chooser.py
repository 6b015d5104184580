"""The expert in use, and when another takes over: what every guard of routing/ decides alike.

What an expert is scored on, and what rules one out, is the guard's business. Whoever is in use
stays until it may not any more, or until another is better by more than noise, so that two experts
that are alike don't take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Chooser:
    """Holds the name `in_use` and, for people, the `reason` of the last change.

    `floor` is who starts where `start` is not allowed; `gain` are the words between two names.
    """

    def __init__(self, start: str, allowed: tuple[str, ...], floor: str, gain: str) -> None:
        self.in_use = start if start in allowed else floor
        self.reason = "nothing measured yet"
        self._gain = gain

    def choose(
        self,
        obstacles: Mapping[str, str | None],
        rank: Callable[[str], tuple[float, int]],
        is_better: Callable[[str, str], bool],
    ) -> str:
        """Name the expert in use from now on.

        `obstacles` say of every expert why it may not be used, at least one may; the least `rank`
        is the best; `is_better(name, than)` tells whether a change is worth it.
        """
        best = min((name for name in obstacles if obstacles[name] is None), key=rank)
        obstacle = obstacles[self.in_use]
        if obstacle is not None:
            self.reason = f"{self.in_use}: {obstacle}"
            self.in_use = best
        elif best != self.in_use and is_better(best, self.in_use):
            self.reason = f"{best} {self._gain} {self.in_use}"
            self.in_use = best
        return self.in_use
