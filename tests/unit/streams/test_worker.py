"""The worker's command line: what would break it is refused with the reason."""

from __future__ import annotations

import ctypes
import logging
import platform
from types import SimpleNamespace

import pytest

from panda_streams.errors import SettingsError
from panda_streams.streams.worker import _Calm, _reuse_memory, refuse_flags


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["faust", "-A", "faust_app", "worker", "--web-port", "1"], "PANDA_PORT_BASE"),
        (["faust", "-A", "faust_app", "worker", "--web-port=1"], "PANDA_PORT_BASE"),
        (["faust", "-A", "faust_app", "worker", "-p1234"], "PANDA_PORT_BASE"),
        (["faust", "-A", "faust_app", "-Laio", "worker"], "uvloop"),
        (["faust", "-A", "faust_app", "worker", "-lwarn"], "DEBUG"),
        (["faust", "-A", "faust_app", "worker", "-l", "warn"], "DEBUG"),
        (["faust", "-A", "faust_app", "worker", "--loglevel=ERROR"], "DEBUG"),
        (["faust", "-A", "faust_app", "-L", "aio", "worker"], "uvloop"),
        (["faust", "--datadir", "/x", "-A", "faust_app", "worker"], "PANDA_HOME"),
        (["faust", "-A", "faust_app", "worker", "--without-web"], "readiness"),
        (["faust", "-A", "faust_app", "worker", "-b", "0.0.0.0"], "127.0.0.1"),
    ],
)
def test_a_flag_that_would_break_the_worker_is_refused(argv: list[str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        refuse_flags(argv)


@pytest.mark.parametrize("flags", [[], ["-l", "info"], ["--loglevel=debug"]])
def test_the_plain_command_and_its_log_levels_are_taken(flags: list[str]) -> None:
    refuse_flags(["faust", "-A", "faust_app", "worker", *flags])


def test_messages_that_never_repeat_are_let_through_and_not_kept() -> None:
    calm = _Calm()

    passed = [calm.filter(logging.LogRecord("x", logging.INFO, "", 0, f"{n}", (), None)) for n in range(5000)]

    assert all(passed)
    assert len(calm._seen) <= 1001


def test_a_message_that_repeats_is_let_through_five_times() -> None:
    calm = _Calm()
    record = logging.LogRecord("kafka", logging.ERROR, "", 0, "cannot connect to %s", ("x",), None)

    assert [calm.filter(record) for _ in range(8)] == [True] * 5 + [False] * 3


def test_the_project_s_own_messages_are_never_held_back() -> None:
    calm = _Calm()
    record = logging.LogRecord("panda_streams.streams.loop", logging.ERROR, "", 0, "%s goes to the DLQ", ("x",), None)

    assert all(calm.filter(record) for _ in range(50))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_the_c_library_takes_every_setting_of_its_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    mallopt, answers = ctypes.CDLL(None).mallopt, []
    library = SimpleNamespace(mallopt=lambda *setting: answers.append(mallopt(*setting)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)

    _reuse_memory()

    assert answers == [1, 1, 1]


def test_a_c_library_without_these_settings_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())

    _reuse_memory()
