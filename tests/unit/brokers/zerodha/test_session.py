"""The stored session: encrypted, one for all processes, dead at six, and one login for many who want it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime

import pytest
from pydantic import SecretStr

from panda_streams.brokers.zerodha.login import Sessions, ensure_session, exchange, log_out
from panda_streams.brokers.zerodha.session import (
    INDIA,
    forget_session,
    next_expiry,
    read_session,
    session_file,
    session_lock,
    write_session,
)
from panda_streams.domain.brokerage import LoggedOut, Unreachable
from panda_streams.errors import BadInput, PandaError, ServerUnreachable, SettingsError
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from tests.unit.brokers.zerodha.fake_kite import Reply, failure, success
from tests.unit.brokers.zerodha.sessions import a_session


@pytest.fixture
def at_sandbox(settings):
    """Settings of a Kite at which a person logs in."""
    return settings.model_copy(update={"kite_profile": KiteProfile.SANDBOX})


@pytest.mark.parametrize(
    ("login", "end"),
    [
        ("2026-11-26T09:00:00+05:30", "2026-11-27T06:00:00+05:30"),
        ("2026-11-26T05:59:59+05:30", "2026-11-26T06:00:00+05:30"),
        ("2026-11-26T06:00:00+05:30", "2026-11-27T06:00:00+05:30"),
        ("2026-11-26T00:29:59+00:00", "2026-11-26T06:00:00+05:30"),
    ],
)
def test_a_token_ends_at_the_next_six_in_india(login, end):
    assert next_expiry(datetime.fromisoformat(login)) == datetime.fromisoformat(end)


def test_a_session_is_read_as_it_was_written(settings, world):
    write_session(settings, world, a_session())
    session = a_session(token="another")

    write_session(settings, world, session)

    assert read_session(settings, world) == session


def test_a_stored_session_is_for_its_user_alone_and_tells_nothing(settings, world):
    write_session(settings, world, a_session())

    path = session_file(settings, world)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["session"]
    for planted in (b"plantedtoken", b"plantedsecret", b"plantedkey"):
        assert planted not in path.read_bytes()


def test_the_same_session_is_never_encrypted_alike(settings, world):
    session = a_session()
    write_session(settings, world, session)
    first = session_file(settings, world).read_bytes()

    write_session(settings, world, session)

    assert session_file(settings, world).read_bytes() != first


def test_without_a_login_there_is_no_session(settings, world):
    assert read_session(settings, world) is None
    assert not forget_session(settings, world)


def test_a_session_is_of_one_profile_one_app_and_one_world(settings, world, at_sandbox):
    write_session(settings, world, a_session())

    assert read_session(at_sandbox, world) is None
    assert read_session(settings.model_copy(update={"kite_api_key": "other"}), world) is None
    assert read_session(settings, World("live")) is None


def test_another_secret_is_a_clear_error(settings, world):
    write_session(settings, world, a_session())

    with pytest.raises(BadInput, match=r"(?s)another KITE_API_SECRET.*panda kite login"):
        read_session(settings.model_copy(update={"kite_api_secret": SecretStr("wrong")}), world)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"profile": "simulator"}', b"\xff\xfe", b"null"])
def test_a_file_that_holds_no_session_is_a_clear_error(settings, world, content):
    write_session(settings, world, a_session())
    session_file(settings, world).write_bytes(content)

    with pytest.raises(BadInput, match=r"does not hold a session"):
        read_session(settings, world)


def test_a_place_that_cannot_be_written_to_is_a_clear_error(settings, world):
    session_file(settings, world).parent.parent.mkdir(parents=True)
    session_file(settings, world).parent.write_text("no directory")

    with pytest.raises(BadInput, match="cannot be stored"):
        write_session(settings, world, a_session())
    with pytest.raises(LoggedOut, match="cannot be used"):
        Sessions(settings, world).current()


def test_a_login_is_exchanged_and_stored(settings, world, fake):
    session = exchange(settings, world, "request1")

    assert session == read_session(settings, world)
    assert (session.user_id, session.access_token.get_secret_value()) == ("AB1234", "accesstoken1")
    assert fake.calls[-1].form["request_token"] == "request1"
    assert session.expires_at == next_expiry(session.login_time)


def test_a_refused_login_says_why_and_leaves_the_session(settings, world, fake):
    before = exchange(settings, world, "request1")
    fake.answers["POST /session/token"] = failure(403, "TokenException", "Token is invalid or has expired.")

    with pytest.raises(PandaError, match=r"(?s)refuses the login: Token is invalid.*KITE_API_SECRET"):
        exchange(settings, world, "request2")
    assert read_session(settings, world) == before


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(hang=True), ServerUnreachable),
        (Reply(reset=True), ServerUnreachable),
        (Reply(502, b"<html>", "text/html"), PandaError),
        (success({"user_id": "AB1234", "login_time": ""}), PandaError),
        (success({"user_id": "AB1234", "access_token": "", "login_time": ""}), PandaError),
        (success(None), PandaError),
    ],
    ids=["hang", "reset", "html", "no token", "empty token", "nothing"],
)
def test_a_login_that_is_not_answered_well_stores_nothing(settings, world, fake, reply, error):
    fake.answers["POST /session/token"] = reply

    with pytest.raises(error):
        exchange(settings, world, "request1")
    assert read_session(settings, world) is None


def test_the_login_of_another_user_is_not_taken(settings, world, fake):
    with pytest.raises(PandaError, match="AB1234 has logged in, but KITE_USER_ID is ZZ9999"):
        exchange(settings.model_copy(update={"kite_user_id": "ZZ9999"}), world, "request1")
    assert read_session(settings, world) is None


def test_real_money_is_not_logged_in_to_from_a_simulation(settings, world):
    with pytest.raises(SettingsError, match="real money"):
        exchange(settings.model_copy(update={"kite_profile": KiteProfile.PRODUCTION}), world, "request1")


def together(number, action):
    """Run an action in several threads at once; what each returned."""
    start, results = threading.Barrier(number), []

    def run():
        start.wait()
        results.append(action())

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_many_who_want_a_session_share_one_login(settings, world, fake):
    sessions = together(5, lambda: ensure_session(settings, world))

    assert (fake.logins, len(sessions)) == (1, 5)
    assert {session.access_token.get_secret_value() for session in sessions} == {"accesstoken1"}


def test_many_who_find_the_same_token_dead_share_one_login(settings, world, fake):
    dead = ensure_session(settings, world)

    sessions = together(5, lambda: ensure_session(settings, world, dead))

    assert (fake.logins, len(sessions)) == (2, 5)
    assert {session.access_token.get_secret_value() for session in sessions} == {"accesstoken2"}


def test_the_simulator_gives_another_session_for_one_that_cannot_be_read(settings, world, fake):
    write_session(settings.model_copy(update={"kite_api_secret": SecretStr("other")}), world, a_session())

    assert ensure_session(settings, world).user_id == "AB1234"


def test_without_a_simulator_the_error_names_it(settings, world):
    with pytest.raises(ServerUnreachable, match=r"(?s)no Kite simulator.*panda kitesim"):
        ensure_session(settings, world)
    with pytest.raises(Unreachable, match="panda kitesim"):
        Sessions(settings, world).current()


def test_only_the_simulator_logs_in_by_itself(at_sandbox, world):
    with pytest.raises(ValueError, match="only the simulator"):
        ensure_session(at_sandbox, world)


def test_where_a_person_logs_in_a_process_waits_for_it(at_sandbox, world):
    sessions = Sessions(at_sandbox, world)
    with pytest.raises(LoggedOut, match="panda kite login"):
        sessions.current()

    write_session(at_sandbox, world, session := a_session(KiteProfile.SANDBOX))
    assert sessions.current() == session

    forget_session(at_sandbox, world)
    with pytest.raises(LoggedOut):
        sessions.current()


def test_a_session_that_has_ended_is_not_used(at_sandbox, world):
    ended = replace(a_session(KiteProfile.SANDBOX), expires_at=datetime.now(INDIA))
    write_session(at_sandbox, world, ended)

    with pytest.raises(LoggedOut, match=r"ended at .*panda kite login"):
        Sessions(at_sandbox, world).current()


def test_a_refused_token_rests_and_is_tried_again(at_sandbox, world, monkeypatch):
    write_session(at_sandbox, world, session := a_session(KiteProfile.SANDBOX))
    sessions, now = Sessions(at_sandbox, world), [100.0]
    monkeypatch.setattr("panda_streams.brokers.zerodha.login.time.monotonic", lambda: now[0])

    sessions.died(session)
    with pytest.raises(LoggedOut, match="no longer takes"):
        sessions.current()
    now[0] += 11

    assert sessions.current() == session


def test_a_new_login_is_used_though_the_token_before_it_died(at_sandbox, world):
    write_session(at_sandbox, world, session := a_session(KiteProfile.SANDBOX))
    sessions = Sessions(at_sandbox, world)
    sessions.died(session)

    write_session(at_sandbox, world, fresh := a_session(KiteProfile.SANDBOX, "fresh"))

    assert sessions.current() == fresh


def test_an_unreadable_session_is_no_login(at_sandbox, world):
    other = at_sandbox.model_copy(update={"kite_api_secret": SecretStr("other")})
    write_session(other, world, a_session(KiteProfile.SANDBOX))

    with pytest.raises(LoggedOut, match="another KITE_API_SECRET"):
        Sessions(at_sandbox, world).current()


def test_a_logout_ends_the_session_at_kite_and_here(settings, world, fake):
    ensure_session(settings, world)
    fake.answers["DELETE /session/token"] = success(True)

    assert log_out(settings, world) == ""
    assert fake.calls[-1].query == {"api_key": "plantedkey", "access_token": "accesstoken1"}
    assert read_session(settings, world) is None
    assert log_out(settings, world) == ""
    assert fake.count("DELETE", "/session/token") == 1


def test_a_logout_that_kite_does_not_hear_still_forgets(settings, world, fake):
    ensure_session(settings, world)
    fake.answers["DELETE /session/token"] = Reply(reset=True)

    assert "accesstoken1" not in (why := log_out(settings, world))
    assert why
    assert read_session(settings, world) is None


def test_who_waits_for_the_lock_gets_it_when_it_is_free(settings, world):
    entered = threading.Event()

    def enter():
        with session_lock(settings, world):
            entered.set()

    with session_lock(settings, world):
        waiting = threading.Thread(target=enter)
        waiting.start()
        assert not entered.wait(0.15)
    waiting.join(5)
    assert entered.is_set()
