"""The jars of the embedded Kafka: fetched once through jgo, each held to the sha256 sum of a committed lock file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jgo.maven import MavenContext

from panda_streams.errors import PandaError

__all__ = ["LOCK_FILE", "Jar", "fetch_jars", "read_lock", "resolve_jars"]

LOCK_FILE = Path(__file__).with_name("kafka.lock")

_THREADS = 6
_ATTEMPTS = 4
_PAUSE_S = 1.0
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock file: `group:artifact:version sha256`."""

    coordinate: str
    sha256: str

    @property
    def file_name(self) -> str:
        group, artifact, version = self.coordinate.split(":")
        return f"{group}.{artifact}-{version}.jar"


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    jars = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match line.split():
            case [coordinate, sha256] if coordinate.count(":") == 2 and len(sha256) == 64:
                jars.append(Jar(coordinate, sha256))
            case _:
                raise PandaError(f"{path}:{number} is not `group:artifact:version sha256`", fix="run `make lock`")
    return jars


def fetch_jars(jars: list[Jar], directory: Path, progress: Callable[[int, int], None]) -> list[Path]:
    """Bring all jars into `directory` and return their paths in the order of `jars`.

    Calls `progress(present, all)` in this thread as they arrive. Two processes may call it at once. Raises PandaError
    if a jar cannot be fetched, or does not have its sum: it is deleted then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _held(directory / "lock"):
        missing = [jar for jar in jars if not _checked(jar, directory / jar.file_name)]
        progress(len(jars) - len(missing), len(jars))
        # Fetched beside the directory and moved in when checked, so that an interrupted download leaves nothing in it.
        with tempfile.TemporaryDirectory(dir=directory) as fresh, ThreadPoolExecutor(_THREADS) as threads:
            context = MavenContext(repo_cache=Path(fresh), local_repos=[], timeout=_TIMEOUT_S)
            fetching = [threads.submit(_fetch, context, jar, directory / jar.file_name) for jar in missing]
            try:
                for number, one in enumerate(as_completed(fetching), len(jars) - len(missing) + 1):
                    one.result()
                    progress(number, len(jars))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
    return [directory / jar.file_name for jar in jars]


def resolve_jars(coordinates: list[str]) -> list[Jar]:
    """Resolve all that `coordinates` (`group:artifact:version`) need at run time, for a new lock file."""
    with tempfile.TemporaryDirectory() as fresh:
        context = MavenContext(repo_cache=Path(fresh), timeout=_TIMEOUT_S)
        inputs, needed = context.resolver.resolve([context.create_dependency(one) for one in coordinates])
        found = {}
        for dependency in [*inputs, *needed]:
            artifact = dependency.artifact
            if dependency.scope in ("compile", "runtime", None) and artifact.packaging == "jar":
                coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
                found[coordinate] = Jar(coordinate, _sha256(artifact.resolve()))
    return [found[coordinate] for coordinate in sorted(found)]


def _checked(jar: Jar, path: Path) -> bool:
    """True if the jar is there; raise PandaError, with the file deleted, if it is there with another content."""
    if not path.exists():
        return False
    found = _sha256(path)
    if found != jar.sha256:
        path.unlink()
        raise PandaError(
            f"{path} does not have the sha256 sum of {LOCK_FILE.name}: expected {jar.sha256}, found {found}",
            fix="the file was deleted; start again to fetch it anew, and distrust the network or the disk if this "
            "comes back",
        )
    return True


def _fetch(context: MavenContext, jar: Jar, target: Path) -> None:
    group, artifact, version = jar.coordinate.split(":")
    wanted = context.project(group, artifact).at_version(version).artifact()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            path: Path = wanted.resolve()
            break
        except (OSError, RuntimeError) as error:  # of requests, and how jgo says "not found"
            wanted.cached_path.unlink(missing_ok=True)
            if attempt == _ATTEMPTS:
                raise PandaError(
                    f"cannot fetch {jar.coordinate} for the embedded Kafka ({attempt} attempts): "
                    f"{type(error).__name__}: {error}",
                    fix="check the network and start again (what is fetched is kept), or set KAFKA_BROKER_URL to a "
                    "Kafka of your own",
                ) from error
            time.sleep(_PAUSE_S * attempt)
    _checked(jar, path)
    os.replace(path, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
