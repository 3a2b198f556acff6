"""What README.md and docs/ tell a reader to run, set and open is there; their examples run."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import click
import pytest

from panda_streams.brokers.port import Broker, Trader
from panda_streams.cli import panda
from panda_streams.domain.calendar import Calendar, trading_date
from panda_streams.domain.contract_note import Tally
from panda_streams.domain.orders import Order, Product, Role
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.ticks import Place
from panda_streams.errors import PandaError
from panda_streams.gateway.server import Gateway
from panda_streams.identity import World
from panda_streams.instrument_files import load_instruments
from panda_streams.settings import Settings
from panda_streams.streams.health import EXIT_UNWELL
from panda_streams.streams.runner import EXIT_BROKEN
from tests.unit.builders import INFY, T0, a_ref, a_tick

_ROOT = Path(__file__).parents[2]
_GUIDES = ["README.md", "docs/running.md"]
_PAGES = [*_GUIDES, *(str(path.relative_to(_ROOT)) for path in sorted(_ROOT.glob("docs/**/*.md")))]
_READERS_OWN = {"june.csv.gz", "paper.env", "worker.env"}
"""Files that the reader makes."""

guides = pytest.mark.parametrize("page", _GUIDES)


def _text(page: str) -> str:
    return (_ROOT / page).read_text()


def _blocks(page: str, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _text(page), re.DOTALL | re.MULTILINE)


def _code(page: str) -> list[str]:
    """Every line of a fenced block, and every code span outside of them."""
    fenced = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", fenced.sub("", _text(page)))
    return [line.strip().removeprefix("$ ") for block in _blocks(page) for line in block.splitlines()] + spans


def _commands(page: str, name: str) -> list[list[str]]:
    """The words after `name` of each code that calls it, behind settings such as PANDA_HOME=… at most."""
    found = []
    for code in _code(page):
        words = code.partition("  #")[0].split()
        while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
            words.pop(0)
        if words and words[0] == name and len(words) > 1:
            found.append(shlex.split(" ".join(words[1:])))
    return found


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", _text("Makefile"), re.MULTILINE))


@guides
def test_every_make_target_and_variable_that_is_named_exists(page):
    commands = _commands(page, "make")

    assert commands
    assert {words[0] for words in commands} <= _targets()
    variables = {word.partition("=")[0] for words in commands for word in words[1:]}
    assert variables <= set(re.findall(r"\$\(([A-Z]+)\)", _text("Makefile")))


@guides
def test_every_panda_command_and_option_that_is_named_exists(page):
    commands = _commands(page, "panda")

    assert commands
    for words in commands:
        _walk(panda, click.Context(panda, info_name="panda"), words)


def _walk(command: click.Command, context: click.Context, words: list[str]) -> None:
    """Check the words as click would parse them, from the first one of a command on."""
    options = {name: one for one in command.params if isinstance(one, click.Option) for name in one.opts}
    left = list(words)
    while left and left[0].startswith("--"):
        assert left[0] in options, f"{context.command_path} has no option {left[0]}"
        if not options[left.pop(0)].is_flag:
            left.pop(0)
    if isinstance(command, click.Group) and left:
        found = command.get_command(context, left[0])
        assert found is not None, f"{context.command_path} has no command {left[0]}"
        _walk(found, click.Context(found, info_name=left[0], parent=context), left[1:])
        return
    assert {word for word in left if word.startswith("--")} <= options.keys()
    arguments = sum(isinstance(one, click.Argument) for one in command.params)
    assert arguments or not [word for word in left if not word.startswith("--")], f"{words}: takes no argument"


@guides
def test_every_setting_that_is_named_exists(page):
    known = {field.alias for field in Settings.model_fields.values()}
    known |= set(re.findall(r'environ\.get\("(PANDA_\w+)"', _text("tests/conftest.py")))

    named = set(re.findall(r"\b(?:PANDA|KAFKA|REDIS|BROKER)_[A-Z_]+\b", _text(page)))

    assert named
    assert named <= known


def test_every_file_that_is_named_exists():
    named = {word for page in _GUIDES for code in _code(page) for word in code.split() if _is_path(word)}
    named -= _READERS_OWN

    assert named
    assert [name for name in sorted(named) if not (_ROOT / name).exists()] == []


def _is_path(word: str) -> bool:
    if not re.fullmatch(r"[A-Za-z.][\w./-]*", word) or word.startswith(".panda"):
        return False
    return word.endswith((".py", ".md", ".yaml", ".example", ".gz", ".env")) or (
        "/" in word and (_ROOT / word.partition("/")[0]).is_dir()
    )


@guides
def test_every_path_of_the_gateway_that_is_named_exists(page):
    routes = Gateway(None, World("sim")).app().router.routes()  # type: ignore[arg-type]  it is not asked for anything
    known = {_unnamed(route.resource.canonical) for route in routes if route.resource is not None}

    named = {_unnamed(code) for code in _code(page) if code.startswith(("/api/", "/ready"))}

    assert named <= known


def _unnamed(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def test_the_table_of_exit_codes_has_every_code():
    table = _text("docs/running.md").partition("## Exit codes")[2].partition("##")[0]

    named = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}

    def codes(error: type[PandaError]) -> Iterator[int]:
        yield error.exit_code
        for more in error.__subclasses__():
            yield from codes(more)

    assert named == {0, EXIT_BROKEN, EXIT_UNWELL, *codes(PandaError)}


@pytest.mark.parametrize("page", dict.fromkeys(_PAGES))
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", _text(page)):
        name, _, anchor = link.partition("#")
        target = (_ROOT / page).parent / name if name else _ROOT / page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, link


def test_the_readme_shows_the_whole_directory_of_documents():
    shown = set(re.findall(r"\(docs/([a-z]+)\.md\)", _text("README.md")))

    assert shown == {path.stem for path in _ROOT.glob("docs/*.md")}


def test_the_index_of_decisions_has_each_of_them():
    shown = set(re.findall(r"\((\d{4}-[\w-]+\.md)\)", _text("docs/decisions/README.md")))

    assert shown == {path.name for path in _ROOT.glob("docs/decisions/[0-9]*.md")}


def test_the_example_of_a_broker_fills_an_order_as_it_is_written(tmp_path, monkeypatch):
    [code] = _blocks("docs/brokers.md", "python")
    (tmp_path / "acme_broker.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    broker: Broker = importlib.import_module("acme_broker").BROKER
    assert broker.trader is not None

    order = Order(
        order_id="order",
        signal_id="signal",
        strategy_id="Momentum",
        instrument=INFY,
        side=Side.BUY,
        role=Role.ENTRY,
        product=Product.MIS,
        quantity=7,
        order_type=OrderType.MARKET,
        validity=Validity.DAY,
        cause=a_ref(),
        live_at=T0 + 200,
    )
    instrument = load_instruments()[INFY]

    trader: Trader = broker.trader(Settings.model_construct(), Calendar.simulated())
    desk = PaperDesk("acme", instrument, trader)
    desk.place(order, T0)
    [change] = desk.meet(a_tick(139_055, row=1, time=T0 + 200), Place("sim", "1", 0, 1), lambda row: None, None)

    assert change.fill is not None
    assert (change.fill.quantity, change.fill.price) == (7, Decimal("1390.55"))
    assert change.fill.charges == {"brokerage": Decimal("20")}
    tally = trader.counted(Tally(), change.fill, instrument)
    assert trader.contract_note(tally, trading_date(T0)) == {}


def test_the_example_that_reads_dead_letters_is_python():
    [code] = _blocks("docs/running.md", "python")

    assert compile(code, "dead_letters.py", "exec")
