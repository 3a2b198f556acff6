from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from panda_streams.alerts import Alerter, Origin, open_alerter
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.errors import SettingsError
from panda_streams.feeds.kite import KiteFeed, Wanted
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.kite_access import kite_access
from panda_streams.kite_frames import encode
from panda_streams.servers import Servers
from panda_streams.settings import Settings
from tests.unit.builders import INDEX, SHARE
from tests.unit.kite_packets import INFY_TOKEN, NIFTY_TOKEN, a_full, an_index

PRODUCTION = Settings().model_copy(update={"kite_profile": KiteProfile.PRODUCTION})


@pytest.fixture
def alerter() -> Iterator[Alerter]:
    alerter = open_alerter(Settings(), Origin(World("sim"), "feed, instance 0"))
    yield alerter
    alerter.close()


def a_feed(alerter: Alerter, settings: Settings, world: World, wanted: dict[int, Instrument]) -> KiteFeed:
    servers = Servers(world, "127.0.0.1:1", "redis://127.0.0.1:1/0", "", world.clock)
    access = kite_access(settings, world)
    return KiteFeed(
        settings, servers, access, Wanted(wanted), Instruments([SHARE, INDEX]), Calendar.always_open(), alerter
    )


@pytest.mark.parametrize(("settings", "world"), [(Settings(), "sim"), (Settings(), "replay:x"), (PRODUCTION, "live")])
def test_the_real_market_belongs_into_the_world_live_and_a_simulated_one_into_others(
    alerter: Alerter, settings: Settings, world: str
) -> None:
    a_feed(alerter, settings, World(world), {INFY_TOKEN: SHARE})


def test_no_simulated_tick_enters_the_world_live(alerter: Alerter) -> None:
    with pytest.raises(SettingsError, match="kite:simulator must not be published into the world live"):
        a_feed(alerter, Settings(), World("live"), {INFY_TOKEN: SHARE})


def test_no_real_tick_enters_another_world() -> None:
    with pytest.raises(SettingsError, match="this world is sim"):
        kite_access(PRODUCTION, World("sim"))


def test_a_feed_of_nothing_is_an_error(alerter: Alerter) -> None:
    with pytest.raises(SettingsError, match="no instrument is wanted"):
        a_feed(alerter, Settings(), World("sim"), {})


def test_an_instrument_whose_prices_would_be_wrong_by_a_factor_is_refused(alerter: Alerter) -> None:
    with pytest.raises(SettingsError, match="NSE:INFY has decimals 4") as error:
        a_feed(alerter, Settings(), World("sim"), {INFY_TOKEN: replace(SHARE, decimals=4)})

    assert "set its decimals to 2" in error.value.fix


def test_a_token_is_shown_to_nobody_but_kite() -> None:
    with pytest.raises(SettingsError, match="--root is for the profile simulator"):
        kite_access(PRODUCTION, World("live"), "127.0.0.1:27604")


@pytest.mark.parametrize("root", ["127.0.0.1:27604", "http://127.0.0.1:27604", "ws://127.0.0.1:27604/"])
def test_the_simulator_of_another_deployment_is_named_by_its_address(root: str) -> None:
    access = kite_access(Settings(), World("sim"), root)

    assert (access.api_root, access.ws_root) == ("http://127.0.0.1:27604", "ws://127.0.0.1:27604")


@pytest.mark.parametrize("root", ["127.0.0.1", "https://127.0.0.1:1", "127.0.0.1:x", "127.0.0.1:1/path", ""])
def test_what_is_no_address_is_an_error(root: str) -> None:
    with pytest.raises(SettingsError, match="this is no address"):
        kite_access(Settings(), World("sim"), root)


def test_while_kafka_is_away_only_the_newest_tick_of_each_instrument_waits(
    alerter: Alerter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panda_streams.feeds.kite._WAITING", 3)
    feed = a_feed(alerter, Settings(), World("sim"), {INFY_TOKEN: SHARE, NIFTY_TOKEN: INDEX})

    feed._hear(encode([a_full(price=1), an_index()]))
    feed._hear(encode([a_full(price=3), a_full(price=4)]))

    assert [(one.instrument, one.packet.price) for one in feed._inbox] == [(INDEX.id, 1_570_000), (SHARE.id, 4)]
    assert dict(feed.counts) == {"overtaken": 2}
