"""The generated pages of docs/ are those that the code gives now, and their examples are real."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import yaml

from docs.generator import pages
from docs.generator.examples import EXAMPLES
from panda_streams.brokers.port import registered_brokers
from panda_streams.codec import decode, decode_depth, decode_market
from panda_streams.domain.signals import Decision, Intent, OrderType, Side, Terms, Validity
from panda_streams.domain.ticks import Tick
from panda_streams.events import WIRE_EVENTS, Beat, Health, TickBatch
from panda_streams.instrument_files import load_instruments
from strategies.config import load_strategies
from strategies.interface import build

_DOCS = Path(__file__).parents[2] / "docs"


_PAGES = pages()


@pytest.mark.parametrize("path", _PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_up_to_date(path):
    # Not compared in one assert: the message must be the remedy, not a difference of a thousand lines.
    stale = not path.is_file() or path.read_text() != _PAGES[path]

    assert not stale, f"docs/{path.name} is stale: run `make docs` and commit it"


def test_every_event_on_a_topic_has_an_example():
    written = {kind for kinds in WIRE_EVENTS.values() for kind in kinds}

    assert set(EXAMPLES) == written | {TickBatch, Beat, Health}


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_an_example_is_a_record_that_can_be_decoded(kind):
    record = EXAMPLES[kind]

    decoded = decode_market(record) if kind in (TickBatch, Beat) else decode(kind, record)

    assert type(decoded) is kind
    assert f"```json\n{record.decode()}\n```" in (_DOCS / "events.md").read_text()


def test_the_example_of_a_batch_shows_the_depth_of_one_of_its_ticks():
    batch = decode_market(EXAMPLES[TickBatch])
    assert isinstance(batch, TickBatch)

    assert set(decode_depth(batch)) < {tick.row for tick in batch.ticks}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (_DOCS / "strategies.md").read_text(), re.DOTALL)


def _decisions() -> list[str]:
    """The code of the table of decisions, with what it leaves out filled in."""
    table = (_DOCS / "strategies.md").read_text().partition("## Decisions")[2].partition("##")[0]
    spans = re.findall(r"`((?:Decision|Terms)\(.*?\))`", table)
    given = 'instrument="NSE:INFY"'
    return [span.replace("…", given if "side=" in span else f"{given}, side=Side.BUY") for span in spans]


@pytest.mark.parametrize("code", _decisions())
def test_every_decision_that_is_shown_can_be_made(code):
    names = {
        "Decimal": Decimal,
        **{kind.__name__: kind for kind in (Decision, Intent, OrderType, Side, Terms, Validity)},
    }

    assert isinstance(eval(code, names), Decision | Terms)


def test_the_example_strategy_runs_as_it_is_written(tmp_path, monkeypatch):
    [code], [form] = _blocks("python"), _blocks("yaml")
    module = yaml.safe_load(form)["strategy"].partition(":")[0]
    (tmp_path / f"{module}.py").write_text(code)
    (tmp_path / "mine.yaml").write_text(form)
    monkeypatch.syspath_prepend(tmp_path)

    strategy = build(load_strategies(tmp_path, load_instruments(), registered_brokers())[0])
    state, intents = strategy.initial(), []
    for row, price in enumerate([100_000, 100_100, 100_200, 100_300, 100_000]):
        state, decisions = strategy.step(state, Tick("NSE:INFY", price, None, None, None, None, row * 1000, row))
        intents += [(row, decision.intent) for decision in decisions]

    assert intents == [(2, Intent.ENTRY), (4, Intent.EXIT)]
    assert strategy.load(orjson.loads(orjson.dumps(strategy.dump(state)))) == state
