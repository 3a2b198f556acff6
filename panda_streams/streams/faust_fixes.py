"""Mends of Faust 0.15.3, each with what will tell that Faust has fixed it. Checked against the installed version."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from faust.tables.recovery import Recovery

from panda_streams.errors import SettingsError

__all__ = ["check_versions", "mend_recovery"]

_TESTED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0", "rocksdict": "0.3.29"}


def check_versions() -> None:
    """Raise SettingsError if a library whose private parts are used has another version than the tested one."""
    for name, tested in _TESTED.items():
        if (found := version(name)) != tested:
            raise SettingsError(
                f"{name} {found} is installed, but panda_streams relies on details of {tested}",
                fix=f"install {name}=={tested}, as requirements.lock says",
            )


def mend_recovery() -> None:
    """Stop the flow before a recovery ends, so that no event is dropped from the agents' queues.

    Stock Faust resumes and seeks while the flow is active and then wipes the queues: the first events of a partition
    are skipped without a word (faust-streaming #596, 7 of 41 restarts on a real Kafka). Fixed in Faust once that
    issue is closed and `Recovery.on_recovery_completed` stops the flow by itself.

    It also notes on the app which generation was recovered: Faust calls `on_rebalance_end` without saying so, and does
    so for an old one if partitions are taken away while it seeks.
    """
    original = Recovery.on_recovery_completed
    if getattr(original, "mended", False):
        return

    async def on_recovery_completed(self: Any, generation_id: int = 0) -> None:
        self.app.consumer.stop_flow()
        self.app.flow_control.suspend()
        self.app.recovered = generation_id
        await original(self, generation_id)

    on_recovery_completed.mended = True  # type: ignore[attr-defined]
    Recovery.on_recovery_completed = on_recovery_completed
