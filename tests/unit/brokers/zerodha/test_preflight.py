"""The checks before an arm trades at Zerodha: each is seen well and not well."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import yaml

from panda_streams.brokers.zerodha.preflight import Verdict, check_clock, check_instruments, preflight
from panda_streams.brokers.zerodha.profile import endpoints
from panda_streams.brokers.zerodha.session import write_session
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from tests.unit.brokers.zerodha.fake_kite import Reply, success
from tests.unit.brokers.zerodha.sessions import a_session

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
ACCOUNT = {"capital": "100000", "share_of_capital": "0.1", "max_position": 100}


def a_strategy(directory: Path, *, consent: object = True, **account: object) -> Path:
    directory.mkdir(exist_ok=True)
    form = {
        "strategy_id": "Mine",
        "strategy": "momentum",
        "trades": ["NSE:INFY"],
        "brokers": ["zerodha"],
        "zerodha_trading_enabled": consent,
        "accounts": {"paper": ACCOUNT, "zerodha": {**ACCOUNT, **account}},
    }
    (directory / "mine.yaml").write_text(yaml.safe_dump(form))
    return directory


@pytest.fixture
def ready(settings, tmp_path):
    """All that can be set is set."""
    limits = tmp_path / "limits.yaml"
    limits.write_text("zerodha: {account: {max_daily_loss: 5000}}")
    return settings.model_copy(
        update={
            "strategies": a_strategy(tmp_path / "strategies", market_protection=-1),
            "limits": limits,
            "alert_urls": type(settings.kite_api_secret)("json://localhost/planted"),
        }
    )


def of(settings, profile, **changes):
    return settings.model_copy(update={"kite_profile": profile, **changes})


@pytest.fixture
def here(monkeypatch, settings):
    """Every profile's Kite is the one of the test."""
    root = endpoints(settings).api_root

    def local(given):
        at = endpoints(given)
        return type(at)(at.profile, root, at.route_prefix, at.ws_root, at.ws_query, at.login_root)

    for module in ("preflight", "client"):
        monkeypatch.setattr(f"panda_streams.brokers.zerodha.{module}.endpoints", local)


def test_at_the_simulator_all_is_well(ready, world, fake):
    checks = preflight(ready, world)

    assert {name: check.text for name, check in checks.items() if check.verdict is not OK} == {}


def test_in_production_only_the_address_cannot_be_seen(ready, fake, here, tmp_path):
    dump = tmp_path / "kite.csv"
    dump.write_text(DUMP)
    settings = of(ready, KiteProfile.PRODUCTION, instruments=f"package:{dump}")
    write_session(settings, World("live"), a_session(KiteProfile.PRODUCTION))
    fake.answers["GET /user/profile"] = success({"user_id": "AB1234"})

    checks = preflight(settings, World("live"))

    assert {name: check.verdict for name, check in checks.items() if check.verdict is not OK} == {"static IP": WARN}


def test_in_production_what_is_missing_fails_with_its_fix(settings, fake, here, tmp_path):
    settings = of(settings, KiteProfile.PRODUCTION, strategies=a_strategy(tmp_path / "s", product="CNC"))

    checks = preflight(settings, World("live"))

    failed = {name for name, check in checks.items() if check.verdict is FAIL}
    assert failed == {"login", "limits", "alerts", "market protection", "instruments"}
    assert (checks["delivery"].verdict, checks["static IP"].verdict) == (WARN, WARN)
    assert all(check.fix for check in checks.values() if check.verdict is not OK)


def test_elsewhere_the_same_only_warns(settings, world, fake, tmp_path):
    checks = preflight(settings.model_copy(update={"strategies": a_strategy(tmp_path / "s")}), world)

    assert {name: check.verdict for name, check in checks.items() if check.verdict is not OK} == dict.fromkeys(
        ("limits", "alerts", "market protection"), WARN
    )


@pytest.mark.parametrize("consent", [False, "simulated"])
def test_a_strategy_without_consent_to_real_orders_trades_nothing(settings, fake, here, tmp_path, consent):
    settings = settings.model_copy(update={"strategies": a_strategy(tmp_path / "s", consent=consent)})

    checks = preflight(of(settings, KiteProfile.PRODUCTION), World("live"))

    assert checks["consents"].verdict is FAIL
    assert "zerodha_trading_enabled" in checks["consents"].fix
    assert checks["market protection"].verdict is OK


def test_production_in_a_simulated_world_fails(ready, world, fake, here):
    checks = preflight(of(ready, KiteProfile.PRODUCTION), world)

    assert checks["profile"].verdict is FAIL


def test_a_file_that_cannot_be_read_is_what_the_check_found(ready, world, fake, tmp_path):
    (tmp_path / "limits.yaml").write_text("zerodha: {account: {no_such_limit: 1}}")

    check = preflight(ready, world)["limits"]

    assert (check.verdict, "no_such_limit" in check.text) == (FAIL, True)


def test_a_simulator_that_does_not_run_fails(ready, world):
    check = preflight(ready, world)["clock"]

    assert (check.verdict, check.fix) == (FAIL, "start `panda kitesim`")


def test_a_token_that_kite_refuses_fails(settings, fake, here):
    settings = of(settings, KiteProfile.SANDBOX)
    write_session(settings, World("live"), a_session(KiteProfile.SANDBOX))
    fake.logins = 1

    check = preflight(settings, World("live"))["login"]

    assert (check.verdict, check.fix) == (FAIL, "panda kite login")
    assert "refused" in check.text


@pytest.mark.parametrize(("off_s", "verdict"), [(0, OK), (-10, WARN), (10, WARN), (90, FAIL), (-90, FAIL)])
def test_a_clock_that_is_off_is_told(settings, fake, off_s, verdict):
    date_header = format_datetime(datetime.now(UTC) + timedelta(seconds=off_s), usegmt=True)
    fake.answers["GET /"] = Reply(body=b"{}", headers={"Date": date_header})

    assert check_clock(endpoints(settings), 5).verdict is verdict


DUMP = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange\n408065,1594,INFY,INFOSYS,0,,0,0.1,1,EQ,NSE,NSE\n"
)


@pytest.mark.parametrize(
    ("name", "today", "verdict"),
    [
        ("kite_2026-11-26_abc.csv", date(2026, 11, 26), OK),
        ("kite_2026-11-25_abc.csv", date(2026, 11, 26), WARN),
        (None, date(2026, 11, 26), FAIL),
    ],
)
def test_the_instruments_are_todays(settings, tmp_path, name, today, verdict):
    given = None
    if name:
        (tmp_path / name).write_text(DUMP)
        (tmp_path / "kite.csv").symlink_to(name)
        given = str(tmp_path / "kite.csv")

    check = check_instruments(of(settings, KiteProfile.PRODUCTION, instruments=given), today)

    assert check.verdict is verdict
