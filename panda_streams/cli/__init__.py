"""The `panda` command: one module a command group, imported only when it is called."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from pathlib import Path

import click
from aiokafka.errors import KafkaError
from dotenv import dotenv_values

from panda_streams import __version__
from panda_streams.errors import PandaError, ServerUnreachable

__all__ = ["main", "panda"]

_COMMANDS = {
    "up": "panda_streams.cli.up:up",
    "servers": "panda_streams.cli.up:servers",
    "status": "panda_streams.cli.status:status",
    "halt": "panda_streams.cli.control:halt",
    "reduce": "panda_streams.cli.control:reduce",
    "flatten": "panda_streams.cli.control:flatten",
    "resume": "panda_streams.cli.control:resume",
    "reconcile": "panda_streams.cli.broker:reconcile",
    "resolve": "panda_streams.cli.broker:resolve",
    "unattributed": "panda_streams.cli.broker:unattributed",
    "strategy": "panda_streams.cli.control:strategy",
    "paper": "panda_streams.cli.paper:paper",
    "risk": "panda_streams.cli.risk:risk",
    "feed": "panda_streams.cli.feed:feed",
    "record": "panda_streams.cli.feed:record",
    "kitesim": "panda_streams.cli.kitesim:kitesim",
    "gateway": "panda_streams.cli.gateway:gateway",
    "kite": "panda_streams.cli.kite:kite",
    "doctor": "panda_streams.cli.doctor:doctor",
    "alert": "panda_streams.cli.alert:alert",
    "calendar": "panda_streams.cli.calendar:calendar",
    "instruments": "panda_streams.cli.instruments:instruments",
    "data": "panda_streams.cli.data:data",
    "topics": "panda_streams.cli.topics:topics",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read settings from this file; what the environment sets wins.",
)
@click.version_option(__version__, prog_name="panda")
def panda(env_file: Path | None) -> None:
    """One brain decides; each broker has an isolated arm that trades.

    Exit codes: 0 all is well, 1 something is not well or failed, 2 bad usage, setting or file, 3 a server does not
    answer, 4 topics are wrong, 5 another world's data, 6 already running.
    """
    # A client that cannot reach Kafka logs many lines a second; each command says once what came of it.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if env_file is not None:
        for name, value in dotenv_values(env_file).items():
            if value is not None:
                os.environ.setdefault(name, value)


def main() -> None:
    """Run the command line; an error that the user can mend is printed without a traceback."""
    try:
        try:
            panda()
        except KafkaError as error:
            # A Kafka that answered a moment ago and went away in the middle of a command.
            raise ServerUnreachable(f"Kafka failed: {error}", fix="see that it runs, and try again") from error
    except PandaError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
