"""Who a process is and which world it lives in: everything that derives from (role, namespace, instance, world).

Application id, consumer group, changelog prefix, static member id, data directory, log file, lock, canonical URL,
ports, topic prefix and Redis prefix are derived here and nowhere else, so that two arms can share a machine, a
Kafka and a Redis and never touch.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from panda_streams.errors import AlreadyRunning, SettingsError

__all__ = ["Clock", "Home", "Identity", "Ports", "Role", "World", "check_namespace", "locked"]

_WORLD = re.compile(r"sim|live|replay:[a-z0-9][a-z0-9_-]{0,39}")
_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{1,15}")
_RESERVED = frozenset({"brain", "control", "feed", "gateway", "kitesim", "market", "panda"})

INSTANCES = 10
"""Instances of one role and namespace on one machine: each owns a web port of its role's ten."""
_ARM_SLOTS = 20


class Role(StrEnum):
    FEED = "feed"
    BRAIN = "brain"
    ARM = "arm"
    GATEWAY = "gateway"
    KITESIM = "kitesim"


class Clock(StrEnum):
    """What an agent with several inputs waits for: a stamped property of a world."""

    REPLAY = "replay"
    """Event time: records act in its order, so that every run of a world gives the same books, at any speed."""
    WALL = "wall"
    """Nothing: records act as they come."""


def check_namespace(name: str) -> str:
    """Return `name` if it can name a broker account, else raise SettingsError."""
    if not _NAMESPACE.fullmatch(name) or name in _RESERVED:
        raise SettingsError(
            f"BROKER_NAMESPACE={name!r} cannot name a broker account",
            fix="use 2 to 16 lower-case letters, digits or _, starting with a letter, and none of "
            + ", ".join(sorted(_RESERVED)),
        )
    return name


@dataclass(frozen=True, slots=True)
class World:
    """The one world of a deployment: `sim`, `replay:<name>` or `live`."""

    name: str

    def __post_init__(self) -> None:
        if not _WORLD.fullmatch(self.name):
            raise SettingsError(
                f"PANDA_WORLD={self.name!r} is not a world",
                fix="use sim, live, or replay:<name> with lower-case letters, digits, - and _",
            )

    @property
    def slug(self) -> str:
        """The world as a directory name and topic prefix: `replay:june` becomes `replay-june`."""
        return self.name.replace(":", "-")

    @property
    def simulated(self) -> bool:
        """True for every world but `live`: its records are marked as not real, wherever they are shown."""
        return self.name != "live"

    @property
    def clock(self) -> Clock:
        """The clock of such a world unless it is created with another."""
        return Clock.REPLAY if self.simulated else Clock.WALL

    @classmethod
    def of_recording(cls, path: Path) -> World:
        """The world of its own that a recording is replayed in, named after the file."""
        stem = path.name.split(".")[0].lower()
        return cls("replay:" + (re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:40] or "recording"))


@dataclass(frozen=True, slots=True)
class Ports:
    """All ports of a deployment, derived from PANDA_PORT_BASE (`base`)."""

    base: int

    def __post_init__(self) -> None:
        highest = 32767 - (INSTANCES * (_ARM_SLOTS + 2))
        if not 1024 <= self.base <= highest:
            raise SettingsError(
                f"PANDA_PORT_BASE={self.base} leaves no room for the ports of a deployment",
                fix=f"use a number from 1024 to {highest}: ports above 32767 are handed out to clients at random",
            )

    @property
    def gateway(self) -> int:
        return self.base

    @property
    def kafka(self) -> int:
        return self.base + 1

    @property
    def kafka_controller(self) -> int:
        return self.base + 2

    @property
    def redis(self) -> int:
        return self.base + 3

    @property
    def kitesim(self) -> int:
        return self.base + 4

    @property
    def kite_callback(self) -> int:
        """Where the browser comes back to after a login at Kite."""
        return self.base + 5

    def worker(self, slot: int, instance: int) -> int:
        """The web port of a worker: slot 0 is the brain, slots 1 and up are arms."""
        return self.base + INSTANCES * (slot + 1) + instance


@dataclass(frozen=True, slots=True)
class Home:
    """The directory under which everything is written (PANDA_HOME), and the places in it."""

    path: Path

    @property
    def running(self) -> Path:
        """What `panda up` serves at the moment: world and addresses, read by every process that is started by hand."""
        return self.path / "running.json"

    @property
    def jars(self) -> Path:
        return self.path / "kafka-jars"

    @property
    def instruments(self) -> Path:
        """The dumps that `panda instruments refresh` has installed."""
        return self.path / "instruments"

    def world(self, world: World) -> Path:
        return self.path / "worlds" / world.slug

    def logs(self, world: World) -> Path:
        return self.world(world) / "logs"

    def slot(self, namespace: str) -> int:
        """Give an arm its ten web ports, first come, first served, and the same ones ever after."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "slots.json").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            slots: dict[str, int] = json.loads(file.read() or "{}")
            if namespace not in slots:
                if len(slots) >= _ARM_SLOTS:
                    raise SettingsError(
                        f"{_ARM_SLOTS} namespaces have ports in {file.name}",
                        fix="remove those that no longer exist from that file",
                    )
                slots[namespace] = min(set(range(1, _ARM_SLOTS + 1)) - set(slots.values()))
                file.seek(0)
                file.truncate()
                file.write(json.dumps(slots))
            return slots[namespace]


@dataclass(frozen=True, slots=True)
class Identity:
    """A process of one world: (role, namespace, instance), and all that derives from it.

    `prefix` is put before every topic and application id: empty on the world's own Kafka, `<world>.` on a given
    one that several worlds may share.
    """

    role: Role
    namespace: str | None
    instance: int
    world: World
    home: Home
    ports: Ports
    prefix: str

    def __post_init__(self) -> None:
        if (self.role is Role.ARM) != (self.namespace is not None):
            raise ValueError("an arm has a namespace, no other role has one")
        if not 0 <= self.instance < INSTANCES:
            raise SettingsError(
                f"PANDA_INSTANCE={self.instance} is out of range", fix=f"use a number from 0 to {INSTANCES - 1}"
            )

    @property
    def scope(self) -> str:
        """The first part of its Redis keys and of its Kafka topics: the namespace of an arm, else the role."""
        return self.namespace or self.role.value

    @property
    def name(self) -> str:
        """Unique within the world, fit for a file name: `arm-paper-0`, `brain-0`."""
        parts = [self.role.value, *([self.namespace] if self.namespace else []), str(self.instance)]
        return "-".join(parts)

    @property
    def app_id(self) -> str:
        """Faust's application id, which is the consumer group and the prefix of the changelog topics too."""
        return f"{self.prefix}panda-{self.scope}"

    @property
    def member_id(self) -> str:
        """The static member id: with it a killed worker is back in 2 to 3 s instead of after the session timeout."""
        return f"{self.app_id}-{self.instance}"

    @property
    def data_dir(self) -> Path:
        return self.home.world(self.world) / "data" / self.name

    @property
    def log_file(self) -> Path:
        return self.home.logs(self.world) / f"{self.name}.log"

    @property
    def lock_file(self) -> Path:
        return self.home.world(self.world) / "run" / f"{self.name}.lock"

    @property
    def web_port(self) -> int:
        """The port of its pages on 127.0.0.1; the feed has none."""
        match self.role:
            case Role.GATEWAY:
                return self.ports.gateway
            case Role.KITESIM:
                return self.ports.kitesim
            case Role.BRAIN:
                return self.ports.worker(0, self.instance)
            case Role.ARM:
                assert self.namespace is not None
                return self.ports.worker(self.home.slot(self.namespace), self.instance)
            case Role.FEED:
                raise ValueError("a feed serves no pages")

    @property
    def canonical_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this identity for the life of the process; raise AlreadyRunning if another process holds it."""
        with locked(
            self.lock_file,
            f"{self.name} of world {self.world.name}",
            fix="stop that process, or set PANDA_INSTANCE to another number to share its work",
        ):
            yield


@contextmanager
def locked(path: Path, what: str, *, fix: str) -> Iterator[None]:
    """Hold a lock file that the kernel releases when the process ends, however it ends; it names its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunning(f"{what} already runs (pid {file.read().strip() or 'unknown'})", fix=fix) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
