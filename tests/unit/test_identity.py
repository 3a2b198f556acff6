"""Identity: what derives from it never collides, ports stay in range, and a lock has one holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.errors import AlreadyRunning, SettingsError
from panda_streams.identity import INSTANCES, Clock, Home, Identity, Ports, Role, World, check_namespace, locked
from panda_streams.keys import Keys
from panda_streams.topics import Topics

_RESERVED = {"brain", "control", "feed", "gateway", "market", "panda"}
namespaces = st.from_regex(r"[a-z][a-z0-9_]{1,15}", fullmatch=True).filter(lambda name: name not in _RESERVED)
worlds = st.one_of(
    st.sampled_from(["sim", "live"]), st.from_regex(r"replay:[a-z0-9][a-z0-9_-]{0,39}", fullmatch=True)
).map(World)


def identity(role: Role, namespace: str | None, world: World, *, instance: int = 0, home: str = "/h") -> Identity:
    return Identity(role, namespace, instance, world, Home(Path(home)), Ports(20000), f"{world.slug}.")


def derived(one: Identity) -> set[str]:
    return {one.member_id, str(one.data_dir), str(one.log_file), str(one.lock_file)}


processes = st.one_of(
    st.tuples(st.sampled_from([Role.BRAIN, Role.FEED, Role.GATEWAY]), st.none(), worlds),
    st.tuples(st.just(Role.ARM), namespaces, worlds),
)


@given(processes, processes)
def test_two_identities_share_no_id_and_no_file(one, other):
    first, second = identity(*one), identity(*other)

    assert (derived(first) & derived(second) == set()) == (one != other)
    assert (first.app_id == second.app_id) == (one == other)


@given(processes, st.integers(0, INSTANCES - 1), st.integers(0, INSTANCES - 1))
def test_instances_share_the_group_and_nothing_else(process, one, other):
    first, second = identity(*process, instance=one), identity(*process, instance=other)

    assert first.app_id == second.app_id
    assert (derived(first) & derived(second) == set()) == (one != other)


@given(namespaces, namespaces, worlds, worlds)
def test_topics_of_different_accounts_and_worlds_never_meet(one, other, here, there):
    first, second = Topics(f"{here.slug}."), Topics(f"{there.slug}.")
    mine = set(first.specs([one])) - (set(second.specs([])) if here == there else set())
    theirs = set(second.specs([other])) - set(second.specs([]))

    assert (mine & theirs == set()) == ((one, here) != (other, there))


@given(namespaces, namespaces)
def test_no_account_has_the_prefix_of_anothers_redis_keys(one, other):
    key = Keys(one).position("Momentum_NIFTY_1", "NSE:INFY")

    assert key.startswith(Keys(other).prefix) == (one == other)


@pytest.mark.parametrize("name", ["", "p", "Paper", "1paper", "paper.1", "paper-1", "brain", "market", "x" * 17])
def test_a_name_that_could_collide_is_refused(name):
    with pytest.raises(SettingsError, match="BROKER_NAMESPACE"):
        check_namespace(name)


@pytest.mark.parametrize("name", ["", "Sim", "replay:", "replay:A", "replay:../etc", "simulation", "live "])
def test_what_is_no_world_is_refused(name):
    with pytest.raises(SettingsError, match="PANDA_WORLD"):
        World(name)


@given(st.text(min_size=1).filter(lambda name: "/" not in name and "\x00" not in name and name not in (".", "..")))
def test_every_recording_has_a_world_of_its_own(name):
    assert World.of_recording(Path("/data") / name).name.startswith("replay:")


def test_only_live_is_not_simulated():
    assert [World(name).simulated for name in ("sim", "replay:june", "live")] == [True, True, False]


def test_only_live_has_the_clock_of_the_wall_by_itself():
    assert [World(name).clock for name in ("sim", "replay:june", "live")] == [Clock.REPLAY, Clock.REPLAY, Clock.WALL]


@given(st.integers(1024, 32547), st.integers(0, 20), st.integers(0, INSTANCES - 1))
def test_every_port_is_below_those_that_clients_get(base, slot, instance):
    ports = Ports(base)

    worker = ports.worker(slot, instance)

    assert base + INSTANCES <= worker < 32768
    assert {ports.gateway, ports.kafka, ports.kafka_controller, ports.redis}.isdisjoint({worker})


@pytest.mark.parametrize("base", [0, 1023, 32548, 60000])
def test_a_port_base_without_room_is_refused(base):
    with pytest.raises(SettingsError, match=f"PANDA_PORT_BASE={base}"):
        Ports(base)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, INSTANCES - 1)), unique=True))
def test_no_two_workers_share_a_port(workers):
    ports = {Ports(20000).worker(*worker) for worker in workers}

    assert len(ports) == len(workers)


def test_an_arm_keeps_its_slot_whoever_comes_later(tmp_path):
    home = Home(tmp_path / "new")

    slots = [home.slot(name) for name in ("paper", "zerodha", "paper", "upstox", "zerodha")]

    assert slots == [1, 2, 1, 3, 2]
    assert Home(home.path).slot("upstox") == 3


def test_a_removed_namespace_leaves_its_slot_to_the_next(tmp_path):
    home = Home(tmp_path)
    for number in range(20):
        home.slot(f"arm{number}")
    slots = tmp_path / "slots.json"
    slots.write_text(slots.read_text().replace('"arm4": 5, ', ""))

    assert home.slot("late") == 5


def test_the_arm_beyond_the_last_slot_is_refused(tmp_path):
    for number in range(20):
        Home(tmp_path).slot(f"arm{number}")

    with pytest.raises(SettingsError, match=r"slots\.json"):
        Home(tmp_path).slot("one_more")


def test_workers_have_pages_and_a_feed_has_none(tmp_path):
    world = World("sim")
    arm = identity(Role.ARM, "paper", world, instance=3, home=str(tmp_path))

    assert arm.canonical_url == f"http://127.0.0.1:{20000 + 2 * INSTANCES + 3}"
    assert identity(Role.BRAIN, None, world).web_port == 20000 + INSTANCES
    assert identity(Role.GATEWAY, None, world).web_port == 20000
    with pytest.raises(ValueError, match="feed"):
        identity(Role.FEED, None, world).web_port  # noqa: B018


@pytest.mark.parametrize("instance", [-1, INSTANCES])
def test_an_instance_out_of_range_is_refused(instance):
    with pytest.raises(SettingsError, match="PANDA_INSTANCE"):
        identity(Role.BRAIN, None, World("sim"), instance=instance)


@pytest.mark.parametrize(("role", "namespace"), [(Role.ARM, None), (Role.BRAIN, "paper")])
def test_arms_and_they_alone_have_a_namespace(role, namespace):
    with pytest.raises(ValueError, match="an arm has a namespace"):
        identity(role, namespace, World("sim"))


def test_a_lock_refuses_a_second_holder_and_names_the_first(tmp_path):
    one = identity(Role.ARM, "paper", World("sim"), home=str(tmp_path))

    with one.lock(), pytest.raises(AlreadyRunning, match=rf"arm-paper-0 .*pid {os.getpid()}"), one.lock():
        pass


def test_a_lock_is_free_again_after_its_holder(tmp_path):
    one = identity(Role.BRAIN, None, World("sim"), home=str(tmp_path))
    with one.lock():
        pass

    with one.lock():
        assert one.lock_file.read_text() == str(os.getpid())


def test_a_killed_holder_leaves_its_lock_free(tmp_path):
    path = tmp_path / "brain.lock"
    hold = "import sys, pathlib, panda_streams.identity as i\nwith i.locked(pathlib.Path(sys.argv[1]), 'x', fix=''):\n"
    hold += "    print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid}"), locked(path, "it", fix="stop it"):
            pass
        holder.send_signal(signal.SIGKILL)

    with locked(path, "it", fix="stop it"):
        assert path.read_text() == str(os.getpid())
