"""Where each Kite is, and who may use it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from panda_streams.brokers.zerodha.connection import open_kite
from panda_streams.brokers.zerodha.profile import check_app, check_profile, endpoints
from panda_streams.errors import SettingsError
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings


def of(settings: Settings, profile: KiteProfile, **changes: object) -> Settings:
    return settings.model_copy(update={"kite_profile": profile, **changes})


def test_the_simulator_is_on_this_machine(settings):
    at = endpoints(settings)

    assert at.api_root == f"http://127.0.0.1:{settings.port_base + 4}"
    assert (at.ws_root, at.route_prefix, at.ws_query) == (at.api_root.replace("http", "ws"), "", {})


def test_the_sandbox_has_its_routes_under_oms_but_the_dumps(settings):
    at = endpoints(of(settings, KiteProfile.SANDBOX, kite_user_id="XY1234"))

    kite = open_kite(at, "key", 7)

    kite.reqsession.close()
    assert kite._routes["order.place"] == "/oms/orders/{variety}"
    assert kite._routes["api.token"] == "/oms/session/token"
    assert kite._routes["market.instruments"] == "/instruments/{exchange}"
    assert kite._routes["market.instruments.all"] == "/instruments"
    assert type(kite)._routes["order.place"] == "/orders/{variety}"
    assert at.ws_query == {"user_id": "XY1234"}


@pytest.mark.parametrize("profile", KiteProfile)
def test_the_address_of_the_login_is_the_profiles_own(settings, profile):
    at = endpoints(of(settings, profile))

    address = at.login_url("the key", "xyz")

    assert address.startswith(at.login_root + "?")
    assert parse_qs(urlsplit(address).query) == {"api_key": ["the key"], "v": ["3"], "redirect_params": ["state=xyz"]}


@pytest.mark.parametrize("world", ["sim", "replay:june"])
def test_real_money_needs_the_live_world(world):
    with pytest.raises(SettingsError, match=f"(?s){world}.*PANDA_KITE_PROFILE=simulator"):
        check_profile(KiteProfile.PRODUCTION, World(world))


def test_the_live_world_may_use_every_kite():
    for profile in KiteProfile:
        check_profile(profile, World("live"))


@pytest.mark.parametrize("profile", [KiteProfile.SANDBOX, KiteProfile.PRODUCTION])
def test_another_kite_needs_an_app_of_its_own(settings, profile):
    unset = of(settings, profile, kite_api_key=Settings.model_fields["kite_api_key"].default)

    with pytest.raises(SettingsError, match="KITE_API_KEY is not set"):
        check_app(unset)
    check_app(of(settings, profile))


def test_a_client_of_the_simulator_never_goes_by_a_proxy(settings):
    kite = open_kite(endpoints(settings), "key", 7)

    kite.reqsession.close()
    assert not kite.reqsession.trust_env
