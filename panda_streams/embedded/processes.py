"""What a supervisor says of its processes: processes.json, written at every change and read by the status commands."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from panda_streams.identity import Home, World

__all__ = ["ProcessRow", "ProcessState", "read_processes", "write_processes"]


class ProcessState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    """It ended unexpectedly and is started again after a pause."""
    FINISHED = "finished"
    """It ended because its work is done."""
    FAILED = "failed"
    """It ended in a way that a restart cannot mend: its last lines say why."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One supervised process. `started_at` is wall time in milliseconds; `exit_code` that of its latest end."""

    name: str
    command: str
    pid: int | None
    state: ProcessState
    restarts: int
    started_at: int | None
    exit_code: int | None
    """Negative if a signal ended it."""
    log: str


def write_processes(home: Home, world: World, supervisor_pid: int, rows: list[ProcessRow]) -> None:
    path = _path(home, world)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"supervisor_pid": supervisor_pid, "world": world.name, "processes": [asdict(row) for row in rows]}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)


def read_processes(home: Home, world: World) -> list[ProcessRow] | None:
    """The processes of the supervisor that runs this world now, or None if there is none."""
    path = _path(home, world)
    try:
        content = json.loads(path.read_text())
        supervisor = psutil.Process(content["supervisor_pid"])
        # A process that is younger than the file only has a dead supervisor's number.
        if supervisor.create_time() > path.stat().st_mtime:
            return None
        return [ProcessRow(**{**row, "state": ProcessState(row["state"])}) for row in content["processes"]]
    except (OSError, ValueError, TypeError, KeyError, psutil.NoSuchProcess):
        return None


def _path(home: Home, world: World) -> Path:
    return home.world(world) / "run" / "processes.json"
