"""Servers: the environment's win over those that `panda up` runs, and a dead deployment counts for nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from panda_streams.errors import SettingsError
from panda_streams.identity import Clock, Home, Role
from panda_streams.servers import (
    Running,
    find_servers,
    identify_process,
    kafka_hosts,
    read_running,
    topic_prefix,
    write_running,
)
from panda_streams.settings import Settings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch):
    for name in os.environ:
        if name.startswith(("PANDA_", "KAFKA_", "REDIS_", "BROKER_")):
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def settings(home: Home, **variables: str) -> Settings:
    return Settings.model_validate({"PANDA_HOME": str(home.path), **variables})


def running(
    pid: int | None = None,
    *,
    world: str = "sim",
    redis: str = "redis://127.0.0.1:2/0",
    clock: Clock = Clock.REPLAY,
) -> Running:
    return Running(pid or os.getpid(), world, "127.0.0.1:1", redis, "", clock)


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_the_running_deployment_is_found(home):
    write_running(home, running(world="replay:june"))

    servers = find_servers(settings(home))

    assert (servers.world.name, servers.kafka, servers.redis, servers.prefix) == (
        "replay:june",
        "127.0.0.1:1",
        "redis://127.0.0.1:2/0",
        "",
    )


def test_the_environment_wins_over_the_running_deployment(home):
    write_running(home, running())

    servers = find_servers(settings(home, KAFKA_BROKER_URL="kafka://given:9092", REDIS_URL="redis://given/3"))

    assert (servers.kafka, servers.redis, servers.prefix) == ("given:9092", "redis://given/3", "sim.")


def test_one_given_server_goes_with_one_that_runs(home):
    write_running(home, running())

    servers = find_servers(settings(home, REDIS_URL="redis://given/3"))

    assert (servers.kafka, servers.redis, servers.prefix) == ("127.0.0.1:1", "redis://given/3", "")


def test_a_deployment_whose_process_has_ended_is_ignored(home):
    write_running(home, running(dead_pid()))

    assert read_running(home) is None
    with pytest.raises(SettingsError, match=r"no Kafka.*nothing runs") as caught:
        find_servers(settings(home))
    assert "KAFKA_BROKER_URL" in caught.value.fix


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "more": 2}'])
def test_an_unreadable_record_of_a_deployment_is_ignored(home, text):
    home.path.mkdir()
    home.running.write_text(text)

    assert read_running(home) is None


def test_a_process_has_the_clock_of_the_running_deployment(home):
    write_running(home, running(clock=Clock.WALL))

    assert find_servers(settings(home)).clock is Clock.WALL


def test_a_clock_that_is_set_is_taken_at_its_word_so_that_the_stamp_can_refuse_it(home):
    write_running(home, running(clock=Clock.WALL))

    assert find_servers(settings(home, PANDA_CLOCK="replay")).clock is Clock.REPLAY


@pytest.mark.parametrize(("world", "clock"), [("sim", "replay"), ("replay:june", "replay"), ("live", "wall")])
def test_a_world_on_given_servers_has_the_clock_of_its_kind_unless_one_is_set(home, world, clock):
    given = {"KAFKA_BROKER_URL": "kafka://given:9092", "REDIS_URL": "redis://given/3", "PANDA_WORLD": world}

    assert find_servers(settings(home, **given)).clock is Clock(clock)
    assert find_servers(settings(home, **given, PANDA_CLOCK="wall")).clock is Clock.WALL


def test_nobody_can_wait_in_the_world_live(home):
    given = {"KAFKA_BROKER_URL": "kafka://given:9092", "REDIS_URL": "redis://given/3", "PANDA_WORLD": "live"}

    with pytest.raises(SettingsError, match="PANDA_CLOCK=replay, but the world is live"):
        find_servers(settings(home, **given, PANDA_CLOCK="replay"))


def test_a_missing_redis_is_named(home):
    with pytest.raises(SettingsError, match="no Redis") as caught:
        find_servers(settings(home, KAFKA_BROKER_URL="kafka://given:9092"))

    assert "REDIS_URL" in caught.value.fix


def test_who_reads_redis_alone_needs_no_kafka(home):
    found = find_servers(settings(home, REDIS_URL="redis://given:6379/1"), kafka_needed=False)

    assert (found.kafka, found.redis) == ("", "redis://given:6379/1")


def test_a_deployment_without_its_own_redis_needs_the_setting(home):
    write_running(home, running(redis=""))

    with pytest.raises(SettingsError, match="no Redis"):
        find_servers(settings(home))


def test_another_world_than_the_running_one_is_refused(home):
    write_running(home, running(world="sim"))

    with pytest.raises(SettingsError, match=r"PANDA_WORLD=replay:june.* runs the world sim"):
        find_servers(settings(home, PANDA_WORLD="replay:june", REDIS_URL="redis://given/3"))


def test_another_world_may_run_on_servers_of_its_own(home):
    write_running(home, running(world="sim"))

    servers = find_servers(
        settings(home, PANDA_WORLD="replay:june", KAFKA_BROKER_URL="kafka://given:9092", REDIS_URL="redis://given/3")
    )

    assert (servers.world.name, servers.prefix) == ("replay:june", "replay-june.")


def test_the_users_topic_prefix_wins(home):
    world = find_servers(settings(home, KAFKA_BROKER_URL="kafka://k:1", REDIS_URL="redis://r")).world

    assert topic_prefix(settings(home, PANDA_TOPIC_PREFIX="mine."), world, given=True) == "mine."
    assert topic_prefix(settings(home), world, given=False) == ""


def test_the_password_of_redis_is_not_printed(home):
    servers = find_servers(settings(home, KAFKA_BROKER_URL="kafka://k:1", REDIS_URL="redis://:hunter2@r"))

    assert "hunter2" not in repr(servers)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("kafka://one:9092", "one:9092"),
        ("one:9092", "one:9092"),
        ("kafka://one:9092;kafka://two:9093", "one:9092,two:9093"),
        ("kafka://one:9092; two:9093", "one:9092,two:9093"),
        ("kafka://[::1]:9092", "[::1]:9092"),
    ],
)
def test_kafka_addresses_become_hosts(url, hosts):
    assert kafka_hosts(url) == hosts


@pytest.mark.parametrize("url", ["", "kafka://", "kafka://one", "http://one:9092", "one:9092,two:9092", "one:port"])
def test_what_is_no_kafka_address_is_refused(url):
    with pytest.raises(SettingsError, match="KAFKA_BROKER_URL"):
        kafka_hosts(url)


def test_a_password_in_a_kafka_address_is_refused_and_not_repeated():
    with pytest.raises(SettingsError, match="KAFKA_SASL_PASSWORD") as refused:
        kafka_hosts("kafka://me:secret@one:9092")
    assert "secret" not in str(refused.value)


def test_an_arm_needs_its_namespace(home):
    write_running(home, running())
    servers = find_servers(settings(home))

    with pytest.raises(SettingsError, match="BROKER_NAMESPACE"):
        identify_process(settings(home), servers, Role.ARM)
    arm = identify_process(settings(home, BROKER_NAMESPACE="paper", PANDA_INSTANCE="2"), servers, Role.ARM)
    assert (arm.name, arm.app_id) == ("arm-paper-2", "panda-paper")


def test_a_namespace_in_the_environment_does_not_make_a_feed_an_arm(home):
    write_running(home, running())
    given = settings(home, BROKER_NAMESPACE="paper", PANDA_INSTANCE="2")

    assert identify_process(given, find_servers(given), Role.FEED).name == "feed-0"
