"""`panda kite`: log in to Kite once a trading day, see how it stands, and log out."""

from __future__ import annotations

import json
import secrets
import webbrowser
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import click

from panda_streams.brokers.zerodha.callback import PATH, REQUEST_TOKEN, Callback
from panda_streams.brokers.zerodha.login import exchange, log_out
from panda_streams.brokers.zerodha.profile import check_app, check_profile, endpoints
from panda_streams.brokers.zerodha.session import INDIA
from panda_streams.brokers.zerodha.standing import LoginState, standing
from panda_streams.errors import PandaError, ServerUnreachable, SettingsError
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.servers import read_running
from panda_streams.settings import Settings, load_settings

__all__ = ["chosen_world", "kite"]

_ASK = "ask"
_LOG_IN = "panda kite login"


@click.group()
def kite() -> None:
    """Log in to Kite and out, for all processes of a world (PANDA_KITE_PROFILE, KITE_API_KEY, KITE_API_SECRET)."""


@kite.command()
@click.option(
    "--token",
    is_flag=False,
    flag_value=_ASK,
    metavar="[TOKEN]",
    help="The request token, or the whole address that the browser was sent to; without a value it is asked for. "
    "Nothing is waited for then.",
)
@click.option("--no-browser", is_flag=True, help="Print the address of the login, and open no browser.")
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(1, 3600),
    default=300,
    show_default=True,
    help="Seconds to wait for the login.",
)
def login(token: str | None, no_browser: bool, wait_s: int) -> None:
    """Log in: in the browser, which comes back to this machine, or with a request token that is passed.

    The app's redirect address at developers.kite.trade must be http://127.0.0.1:27605/kite/callback (PANDA_PORT_BASE +
    5). The session is stored encrypted in PANDA_HOME and taken up by all running processes; a session before it is
    dead. It ends at 06:00 India time. Exits with 1 if the login fails, 2 if a setting is unusable, 3 if Kite does not
    answer.
    """
    settings = load_settings()
    world = chosen_world(settings)
    check_profile(settings.kite_profile, world)
    check_app(settings)
    if token is None:
        token = _from_browser(settings, not no_browser, wait_s)
    elif token == _ASK:
        token = click.prompt("request token, or the address that the browser was sent to", hide_input=True)
    session = exchange(settings, world, _request_token(token))
    until = session.expires_at.astimezone(INDIA)
    click.echo(f"logged in as {session.user_id} at {session.profile}, until {until:%Y-%m-%d %H:%M} India time")


@kite.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show the profile, who is logged in, since when and until when, and whether Kite takes the session.

    Exits with 0 if it does, 1 if a login is wanted, 3 if Kite does not answer. At the simulator no login is wanted:
    its clients log in by themselves.
    """
    settings = load_settings()
    world = chosen_world(settings)
    check_profile(settings.kite_profile, world)
    found, now = standing(settings, world), datetime.now(INDIA)
    session, at = found.session, endpoints(settings)
    age = None if session is None else int((now - session.login_time).total_seconds())
    if as_json:
        report = {
            "profile": at.profile.value,
            "endpoint": at.api_root,
            "world": world.name,
            "state": found.state.value,
            "user": session and session.user_id,
            "login_time": session and session.login_time.isoformat(),
            "expires_at": session and session.expires_at.isoformat(),
            "age_s": age,
            "detail": found.detail,
        }
        click.echo(json.dumps(report))
    else:
        click.echo(f"{at.profile} at {at.api_root}, world {world.name}")
        if session is not None and age is not None:
            click.echo(
                f"{session.user_id}, logged in {age // 3600} h {age // 60 % 60} min ago, "
                f"until {session.expires_at.astimezone(INDIA):%Y-%m-%d %H:%M} India time"
            )
    by_itself = at.profile is KiteProfile.SIMULATOR
    match found.state:
        case LoginState.LIVE:
            _say(as_json, "Kite takes the session")
        case LoginState.NONE if by_itself:
            _say(as_json, "nobody is logged in: clients of the simulator log in by themselves")
        case LoginState.EXPIRED | LoginState.REFUSED if by_itself:
            _say(as_json, f"the session has ended ({found.state}): clients of the simulator log in by themselves")
        case LoginState.UNREACHABLE:
            raise ServerUnreachable(found.detail, fix=_start(at.profile))
        case LoginState.NONE:
            raise PandaError("nobody is logged in", fix=_LOG_IN)
        case LoginState.EXPIRED:
            raise PandaError("the session has ended", fix=_LOG_IN)
        case LoginState.REFUSED:
            raise PandaError(f"Kite does not take the session: {found.detail}", fix=_LOG_IN)
        case LoginState.UNREADABLE:
            raise PandaError(found.detail, fix=f"set KITE_API_SECRET to what it was at the login, or {_LOG_IN}")


@kite.command()
def logout() -> None:
    """End the session at Kite, and remove it from this machine.

    Exits with 1 if Kite could not be told: the token then lives on, unknown to this machine, until 06:00 India time.
    """
    settings = load_settings()
    if why := log_out(settings, chosen_world(settings)):
        raise PandaError(
            f"the session is removed here, but Kite could not be told: {why}",
            fix="log in and out again, or end all sessions at kite.zerodha.com: otherwise it ends at 06:00",
        )
    click.echo("logged out")


def chosen_world(settings: Settings) -> World:
    """The world that is set, else the one that `panda up` runs, else sim."""
    running = read_running(settings.home_dir)
    return World(settings.world or (running.world if running else "sim"))


def _from_browser(settings: Settings, open_it: bool, wait_s: int) -> str:
    state = secrets.token_hex(16)
    address = endpoints(settings).login_url(settings.kite_api_key, state)
    # Real money: what comes back must be what was begun here. The sandbox is not known to send the state back.
    strict = settings.kite_profile is KiteProfile.PRODUCTION
    with Callback(settings.ports.kite_callback, state, strict=strict) as callback:
        click.echo(f"log in at {address}")
        click.echo(f"waiting {wait_s} s for the browser at http://127.0.0.1:{settings.ports.kite_callback}{PATH}")
        if open_it:
            webbrowser.open(address)
        return callback.wait(wait_s)


def _request_token(text: str) -> str:
    """The request token in what a person pasted: itself, or the address with it."""
    token = parse_qs(urlsplit(text.strip()).query).get("request_token", [text.strip()])[0]
    if not REQUEST_TOKEN.fullmatch(token):
        raise SettingsError(
            "that is no request token", fix="pass what stands behind request_token= in the browser's address"
        )
    return token


def _say(as_json: bool, text: str) -> None:
    if not as_json:
        click.echo(text)


def _start(profile: KiteProfile) -> str:
    return "start `panda kitesim`" if profile is KiteProfile.SIMULATOR else "see that the network is up, and try again"
