"""The Procfile: the one list of a deployment's processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from honcho.environ import parse_procfile

import panda_streams
from panda_streams.embedded.supervisor import Program
from panda_streams.errors import BadInput

__all__ = ["children_environment", "find_procfile", "read_procfile"]

_SERVERS = ("kafka", "redis")


def find_procfile() -> Path:
    """The Procfile of the current directory, else the one that lies beside the package."""
    places = [Path("Procfile"), Path(panda_streams.__file__).parents[1] / "Procfile"]
    for place in places:
        if place.is_file():
            return place
    raise BadInput(f"no Procfile: looked for {' and '.join(map(str, places))}", fix="name one with --procfile")


def read_procfile(path: Path, env: Mapping[str, str], logs: Path) -> list[Program]:
    """The processes of a Procfile (`name: command` lines), to be run with `env` and logged to `logs`/<name>.log."""
    try:
        commands: dict[str, str] = parse_procfile(path.read_text()).processes
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", fix="name a Procfile with --procfile") from None
    except AssertionError as error:  # honcho's way to refuse a name that occurs twice
        raise BadInput(f"{path}: {error}", fix="give each process a name of its own") from None
    if not commands:
        raise BadInput(f"{path} names no process", fix="write lines such as `brain: exec faust -A faust_app worker`")
    for name in _SERVERS:
        if name in commands:
            raise BadInput(f"{path}: {name} is the name of an embedded server", fix="give that process another name")
    return [
        Program(
            name=name,
            argv=("/bin/sh", "-c", command),
            command=command,
            log=logs / f"{name}.log",
            env=env,
            finishes=name == "feed",
        )
        for name, command in commands.items()
    ]


def children_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `settings` in it, for processes of a Procfile.

    `panda` and `faust` are those of this Python; who trades for which broker is said by the Procfile alone.
    """
    env = {name: value for name, value in os.environ.items() if name != "BROKER_NAMESPACE"}
    path = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    return {**env, "PATH": path, "PYTHONUNBUFFERED": "1", **settings}
