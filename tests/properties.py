"""On how many examples properties are tried: the same ones in every run, or as many times more, at random."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

__all__ = ["examples", "try_properties"]

_PLAIN = 100
"""Examples of a property that does not say how many."""


def try_properties(times: int | None) -> None:
    """Set how properties are tried, before their modules are read. None: on examples that are the same in every run,
    so that it depends on the code alone whether one passes; else on `times` as many, others in every run."""
    settings.register_profile(
        "tests",
        derandomize=times is None,
        max_examples=_PLAIN * (times or 1),
        # A machine that is busy makes no property wrong.
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )
    settings.load_profile("tests")


def examples(number: int) -> int:
    """For a property that is to be tried on `number` examples: as many, or as many times more as are asked for."""
    return number * settings().max_examples // _PLAIN
