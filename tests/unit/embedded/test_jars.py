from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from panda_streams.embedded import jars as module
from panda_streams.embedded.jars import LOCK_FILE, Jar, fetch_jars, read_lock
from panda_streams.errors import PandaError

CONTENT = b"a jar"
JAR = Jar("org.example:thing:1.0", hashlib.sha256(CONTENT).hexdigest())


class FakeArtifact:
    def __init__(self, cached_path: Path, answers: list[bytes | Exception]) -> None:
        self.cached_path = cached_path
        self._answers = answers

    def resolve(self) -> Path:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            self.cached_path.write_bytes(b"half a j")
            raise answer
        self.cached_path.write_bytes(answer)
        return self.cached_path


class FakeMaven:
    """Gives one answer after the other, whatever it is asked for."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self._answers = list(answers)

    def __call__(self, *, repo_cache: Path, local_repos: list[Path], timeout: int) -> FakeMaven:
        self._cache = repo_cache
        return self

    def project(self, group: str, artifact: str) -> FakeMaven:
        return self

    def at_version(self, version: str) -> FakeMaven:
        return self

    def artifact(self) -> FakeArtifact:
        return FakeArtifact(self._cache / "cached.jar", self._answers)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0)


def answering(monkeypatch: pytest.MonkeyPatch, *answers: bytes | Exception) -> None:
    monkeypatch.setattr(module, "MavenContext", FakeMaven(*answers))


def test_a_jar_is_fetched_once_and_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, CONTENT)
    steps: list[tuple[int, int]] = []

    first = fetch_jars([JAR], tmp_path, lambda *step: steps.append(step))
    second = fetch_jars([JAR], tmp_path, lambda *step: steps.append(step))

    assert first == second
    assert first[0].read_bytes() == CONTENT
    assert steps == [(0, 1), (1, 1), (1, 1)]


def test_a_tampered_jar_is_refused_by_name_and_deleted(tmp_path: Path) -> None:
    path = tmp_path / JAR.file_name
    path.write_bytes(b"another jar")

    with pytest.raises(PandaError, match=JAR.file_name) as refusal:
        fetch_jars([JAR], tmp_path, lambda *step: None)

    assert JAR.sha256 in str(refusal.value)
    assert not path.exists()


def test_a_fetched_jar_with_another_sum_never_gets_into_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, b"another jar")

    with pytest.raises(PandaError, match="sha256"):
        fetch_jars([JAR], tmp_path, lambda *step: None)

    assert list(tmp_path.rglob("*.jar")) == []


def test_a_broken_download_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, ConnectionError("reset"), RuntimeError("not found"), CONTENT)

    [path] = fetch_jars([JAR], tmp_path, lambda *step: None)

    assert path.read_bytes() == CONTENT


def test_a_jar_that_cannot_be_fetched_is_named_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, *[ConnectionError("no route")] * 10)

    with pytest.raises(PandaError, match=r"org\.example:thing:1\.0.*no route(?s:.*)KAFKA_BROKER_URL"):
        fetch_jars([JAR], tmp_path, lambda *step: None)


def test_the_committed_lock_names_kafka_and_no_address() -> None:
    coordinates = [jar.coordinate for jar in read_lock()]

    assert "org.apache.kafka:kafka_2.13:4.1.1" in coordinates
    assert "org.slf4j:slf4j-simple:1.7.36" in coordinates
    assert len({jar.file_name for jar in read_lock()}) == len(coordinates)
    assert "//" not in LOCK_FILE.read_text()


def test_a_broken_line_of_the_lock_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "kafka.lock"
    lock.write_text(f"{JAR.coordinate} {JAR.sha256}\norg.example:thing sum\n")

    with pytest.raises(PandaError, match=r"kafka\.lock:2"):
        read_lock(lock)
