"""Looks, before an arm trades at Zerodha, for what would go wrong: settings, login, clock, and rules of the broker."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

import requests

from panda_streams.alerts.config import load_alerts
from panda_streams.alerts.targets import open_targets
from panda_streams.brokers.port import registered_brokers
from panda_streams.brokers.zerodha.profile import Endpoints, check_app, check_profile, endpoints
from panda_streams.brokers.zerodha.session import INDIA
from panda_streams.brokers.zerodha.standing import LoginState, standing
from panda_streams.calendar_files import load_calendar
from panda_streams.domain.orders import Product
from panda_streams.errors import PandaError, SettingsError
from panda_streams.identity import World
from panda_streams.instrument_files import PACKAGE, load_instruments
from panda_streams.kite import KiteProfile
from panda_streams.kite_dump import is_dump
from panda_streams.limit_files import read_limits
from panda_streams.settings import Settings
from strategies.config import AccountConfig, StrategyConfig, load_strategies

__all__ = ["Check", "Verdict", "check_production", "preflight"]

_NAMESPACE = "zerodha"
_SKEW_WARN_S, _SKEW_FAIL_S = 2.0, 30.0
"""The header is a whole second. Half a minute off, every fresh signal is stale or every stale one is fresh."""
_DUMP_NAME = re.compile(r"kite_(\d{4}-\d{2}-\d{2})_")
_LOG_IN = "panda kite login"


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Worth knowing, or not to be seen from here."""
    FAIL = "fail"
    """It would not work, or not safely."""


@dataclass(frozen=True, slots=True)
class Check:
    """What came of a check."""

    verdict: Verdict
    text: str
    fix: str = ""


def preflight(settings: Settings, world: World, *, passing: Iterable[str] = ()) -> dict[str, Check]:
    """Run every check but those of `passing`, by name; none raises, and nothing is changed.

    What could lose money is a failure in production, and a warning elsewhere. Asks the endpoint for the time and, with
    a session, for its user.
    """
    at, today = endpoints(settings), datetime.now(INDIA).date()
    checks: dict[str, Callable[[], Check]] = {
        "profile": lambda: check_profile_and_world(settings, world),
        "app": lambda: check_key_and_secret(settings),
        "login": lambda: check_session(settings, world),
        "clock": lambda: check_clock(at, settings.kite_timeout_s),
        "static IP": lambda: check_address(at.profile),
        "consents": lambda: check_consents(_strategies(settings), at.profile, world),
        "limits": lambda: check_limits(settings),
        "alerts": lambda: check_alerts(settings),
        "calendar": lambda: check_calendar(settings, today),
        "market protection": lambda: check_protection(_strategies(settings), at.profile, world),
        "delivery": lambda: check_delivery(_strategies(settings), world),
        "instruments": lambda: check_instruments(settings, today),
    }
    return {name: _guarded(check) for name, check in checks.items() if name not in passing}


def check_production(settings: Settings, world: World) -> None:
    """Raise SettingsError unless all that an arm needs before it trades real money is set.

    A missing login or network is no setting: the arm starts, says so, and holds its orders.
    """
    failed = {
        name: check
        for name, check in preflight(settings, world, passing=("login", "clock")).items()
        if check.verdict is Verdict.FAIL
    }
    if failed:
        found = "; ".join(f"{name}: {check.text}" for name, check in failed.items())
        raise SettingsError(
            f"PANDA_KITE_PROFILE=production moves real money, and the preflight has failed: {found}",
            fix="`panda doctor --live zerodha` names a fix for each",
        )


def check_profile_and_world(settings: Settings, world: World) -> Check:
    """Whether the world may use the profile."""
    check_profile(settings.kite_profile, world)
    money = "real money" if settings.kite_profile is KiteProfile.PRODUCTION else "no real money"
    return Check(Verdict.OK, f"{settings.kite_profile} in the world {world.name}: {money}")


def check_key_and_secret(settings: Settings) -> Check:
    """Whether key and secret of an app are set."""
    check_app(settings)
    return Check(Verdict.OK, "KITE_API_KEY and KITE_API_SECRET are set")


def check_session(settings: Settings, world: World) -> Check:
    """Whether Kite takes the stored token."""
    found = standing(settings, world)
    session, simulator = found.session, settings.kite_profile is KiteProfile.SIMULATOR
    if found.state is LoginState.LIVE and session is not None:
        until = f"{session.expires_at.astimezone(INDIA):%Y-%m-%d %H:%M}"
        return Check(Verdict.OK, f"{session.user_id}, until {until} India time")
    if found.state is LoginState.UNREACHABLE:
        return Check(Verdict.FAIL, found.detail, "see that the endpoint is up, and try again")
    if simulator:
        return Check(Verdict.OK, f"{found.state}: clients of the simulator log in by themselves")
    text = f"no session that works ({found.state})" + (f": {found.detail}" if found.detail else "")
    return Check(Verdict.FAIL, text, _LOG_IN)


def check_clock(at: Endpoints, timeout_s: float) -> Check:
    """How far this machine's clock is from the endpoint's, by the Date of an answer."""
    try:
        with requests.Session() as http:
            http.trust_env = at.profile is not KiteProfile.SIMULATOR
            before = time.time()
            answer = http.get(f"{at.api_root}/", timeout=timeout_s, allow_redirects=False)
            after = time.time()
        told = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except requests.RequestException as error:
        text = f"no answer from {at.api_root}: {type(error).__name__}"
        start = "start `panda kitesim`" if at.profile is KiteProfile.SIMULATOR else "see that the network is up"
        return Check(Verdict.FAIL, text, start)
    except (KeyError, ValueError, TypeError):
        return Check(Verdict.WARN, f"{at.api_root} does not say its time", "compare the clock by hand")
    # The header was made between the two, and cut to its second.
    skew = max(0.0, told - after, before - (told + 1))
    verdict = Verdict.OK if skew <= _SKEW_WARN_S else Verdict.WARN if skew <= _SKEW_FAIL_S else Verdict.FAIL
    text = f"{skew:.1f} s off the endpoint's" if skew else "within a second of the endpoint's"
    return Check(verdict, text, "" if verdict is Verdict.OK else "let NTP set it: `timedatectl set-ntp true`")


def check_address(profile: KiteProfile) -> Check:
    """A note: since 1 April 2026 orders are taken from registered addresses alone, which cannot be seen from here."""
    if profile is not KiteProfile.PRODUCTION:
        return Check(Verdict.OK, f"the {profile} takes orders from any address")
    return Check(
        Verdict.WARN,
        "orders are taken from registered addresses alone; whether this one is cannot be checked from here",
        "compare this machine's public address with those of your profile at developers.kite.trade",
    )


def check_consents(strategies: Iterable[StrategyConfig], profile: KiteProfile, world: World) -> Check:
    """Which strategies may place orders there."""
    listed = [config for config in strategies if _NAMESPACE in config.brokers]
    may = [config.strategy_id for config, _ in _trading(listed, world)]
    others = [config.strategy_id for config in listed if config.strategy_id not in may]
    text = f"with orders: {_names(may)}; without: {_names(others)}"
    if may:
        return Check(Verdict.OK, text)
    fix = "list zerodha in the brokers of a strategy, with `zerodha_trading_enabled: true`"
    return Check(_grave(profile), f"no strategy trades there; {text}", fix)


def check_limits(settings: Settings) -> Check:
    """Whether the account has limits of its own: those of the strategies' files bound each strategy alone."""
    brokers, instruments = registered_brokers(), load_instruments(settings.instruments)
    read = read_limits(settings.limits, _strategies(settings), instruments, brokers)
    if settings.limits is not None and _NAMESPACE in read:
        return Check(Verdict.OK, f"{settings.limits} limits {_NAMESPACE}")
    text = f"no limits of the account {_NAMESPACE}: " + (
        "PANDA_LIMITS is not set" if settings.limits is None else f"{settings.limits} does not name it"
    )
    return Check(_grave(settings.kite_profile), text, "write them into the file of PANDA_LIMITS; docs/risk.md")


def check_alerts(settings: Settings) -> Check:
    """Whether anybody is told."""
    config = load_alerts(settings)
    targets = open_targets(config.targets)
    if targets:
        return Check(Verdict.OK, f"sent to {_names(target.name for target in targets)}")
    fix = "set PANDA_ALERTS or PANDA_ALERT_URLS, and try it with `panda alert test`"
    return Check(_grave(settings.kite_profile), "nobody is told when the arm halts or loses its login", fix)


def check_calendar(settings: Settings, today: date) -> Check:
    """Whether the holidays of this year are known."""
    calendar = load_calendar(settings.calendar)
    if calendar.covers(today):
        named = "" if settings.calendar is None else f", with {settings.calendar}"
        return Check(Verdict.OK, f"the holidays of {today.year} are known{named}")
    text = f"the holidays of {today.year} are not known: every weekday counts as a trading day"
    return Check(_grave(settings.kite_profile), text, "add them, and the year, to the file of PANDA_CALENDAR")


def check_protection(strategies: Iterable[StrategyConfig], profile: KiteProfile, world: World) -> Check:
    """Whether each account can send orders at the market, as every exit by the arm is one."""
    if profile is KiteProfile.SANDBOX:
        return Check(Verdict.WARN, "the sandbox takes LIMIT orders alone", "use the simulator")
    without = [config.strategy_id for config, account in _trading(strategies, world) if not account.market_protection]
    if not without:
        return Check(Verdict.OK, "set for every strategy that trades there")
    return Check(
        _grave(profile),
        f"not set for {_names(without)}: orders at the market are refused since 1 April 2026, exits included",
        "set `market_protection: -1` (the broker's choice) or per cent under accounts: zerodha: of the strategy",
    )


def check_delivery(strategies: Iterable[StrategyConfig], world: World) -> Check:
    """A note on selling shares that were delivered."""
    held = [config.strategy_id for config, account in _trading(strategies, world) if account.product is Product.CNC]
    if not held:
        return Check(Verdict.OK, "no strategy holds shares as CNC there")
    return Check(
        Verdict.WARN,
        f"{_names(held)} holds shares as CNC: without DDPI, a sale of delivered shares wants a TPIN that day",
        "give Zerodha the DDPI, or authorise the holdings at kite.zerodha.com in the morning",
    )


def check_instruments(settings: Settings, today: date) -> Check:
    """Whether the list of instruments is today's: ticks, lots and Kite's numbers change from day to day."""
    load_instruments(settings.instruments)
    if settings.kite_profile is KiteProfile.SIMULATOR:
        return Check(Verdict.OK, "the simulator lists what PANDA_INSTRUMENTS lists")
    names = (settings.instruments or PACKAGE).split(os.pathsep)
    dumps = [path for name in names if is_dump(path := Path(name).expanduser())]
    fix = "download the dump and `panda instruments refresh` it; PANDA_INSTRUMENTS must name it"
    if not dumps:
        return Check(_grave(settings.kite_profile), "PANDA_INSTRUMENTS names no dump of Kite", fix)
    newest = max(_date_of(path) for path in dumps)
    if newest < today:
        return Check(Verdict.WARN, f"the newest dump is of {newest}", fix)
    return Check(Verdict.OK, f"the dump is of {newest}")


def _guarded(check: Callable[[], Check]) -> Check:
    """A file or setting that cannot be used is what the check has found."""
    try:
        return check()
    except PandaError as error:
        return Check(Verdict.FAIL, str(error.args[0]), error.fix)


def _grave(profile: KiteProfile) -> Verdict:
    return Verdict.FAIL if profile is KiteProfile.PRODUCTION else Verdict.WARN


def _strategies(settings: Settings) -> tuple[StrategyConfig, ...]:
    return load_strategies(settings.strategies, load_instruments(settings.instruments), registered_brokers())


def _trading(strategies: Iterable[StrategyConfig], world: World) -> list[tuple[StrategyConfig, AccountConfig]]:
    """The strategies that may place orders there, with what they are given."""
    return [
        (config, config.accounts[_NAMESPACE])
        for config in strategies
        if _NAMESPACE in config.brokers and config.consents_to(_NAMESPACE, simulated=world.simulated)
    ]


def _date_of(dump: Path) -> date:
    """When a dump was installed, by its name (`panda instruments refresh` gives it one), else by its file's time."""
    target = dump.resolve()
    named = _DUMP_NAME.match(target.name)
    return date.fromisoformat(named[1]) if named else datetime.fromtimestamp(target.stat().st_mtime, INDIA).date()


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
