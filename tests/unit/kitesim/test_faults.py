"""What Kite's users meet, done to the unmodified client on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect.exceptions import (
    DataException,
    GeneralException,
    KiteException,
    NetworkException,
    OrderException,
    TokenException,
)

from panda_streams.errors import BadInput
from panda_streams.kitesim.faults import Armed, Call, Fault, Faults, Scenario, read_scenario
from tests.polling import eventually
from tests.unit.kitesim.bench import Bench, placed


def arm(bench: Bench, kind: str, **fields: Any) -> None:
    requests.post(f"{bench.url}/sim/faults", json={"kind": kind, **fields}, timeout=5).raise_for_status()


def fired(bench: Bench) -> dict[str, int]:
    counts: dict[str, int] = requests.get(f"{bench.url}/sim/faults", timeout=5).json()["fired"]
    return counts


CASES = [
    ("timeout_before", requests.ReadTimeout, None, False),
    ("timeout_after", requests.ReadTimeout, None, True),
    ("error_5xx_after", GeneralException, "Something went wrong", True),
    ("html_502_before", DataException, "Unknown Content-Type", False),
    ("html_502_after", DataException, "Unknown Content-Type", True),
    ("ambiguous_400_before", OrderException, "check the order book and confirm", False),
    ("ambiguous_400_after", OrderException, "check the order book and confirm", True),
    ("reset_before", requests.ConnectionError, None, False),
    ("reset_after", requests.ConnectionError, None, True),
    ("burst_429", NetworkException, "Too many requests", False),
]


@pytest.mark.parametrize(("kind", "error", "message", "taken"), CASES, ids=[case[0] for case in CASES])
def test_an_order_is_taken_or_not_whatever_the_client_hears(
    bench: Bench, kind: str, error: type[Exception], message: str | None, taken: bool
) -> None:
    kite = bench.client(timeout=0.3)
    arm(bench, kind, count=1, seconds=0.6)

    with pytest.raises(error, match=message):
        placed(kite, price=1490, tag="one")

    assert [order["tag"] for order in kite.orders()] == (["one"] if taken else [])
    assert fired(bench) == {kind: 1}
    placed(kite, price=1490, tag="two")
    assert len(kite.orders()) == taken + 1
    kite.reqsession.close()


@pytest.mark.parametrize("kind", ["error_5xx_after", "reset_after", "ambiguous_400_after"])
def test_cancellations_and_modifications_meet_them_too(bench: Bench, kite: KiteConnect, kind: str) -> None:
    order_id = placed(kite, price=1490)
    bench.advance(2500)
    for change in (
        lambda: kite.modify_order("regular", order_id, price=1480),
        lambda: kite.cancel_order("regular", order_id),
    ):
        arm(bench, kind, count=1)
        with pytest.raises((KiteException, requests.ConnectionError)):
            change()

    bench.advance(3000)
    assert kite.order_history(order_id)[-1]["status"] == "CANCELLED"
    assert kite.order_history(order_id)[-1]["price"] == 1480


def test_a_fault_can_be_kept_to_some_calls(bench: Bench, kite: KiteConnect) -> None:
    arm(bench, "burst_429", count=1, calls=["cancel"])
    order_id = placed(kite, price=1490)

    with pytest.raises(NetworkException):
        kite.cancel_order("regular", order_id)


def test_an_order_may_be_in_the_book_later_than_its_answer(bench: Bench, kite: KiteConnect) -> None:
    arm(bench, "late_book", count=1, seconds=0.5)

    order_id = placed(kite)
    bench.tick(150_000, at=3000, volume=3000)

    assert (kite.orders(), kite.trades()) == ([], [])
    with pytest.raises(GeneralException, match="Couldn't find"):
        kite.order_history(order_id)
    eventually(lambda: [order["order_id"] for order in kite.orders()] == [order_id], what="the book shows the order")
    assert len(kite.trades()) == 1


def test_all_tokens_can_die_at_once(bench: Bench, kite: KiteConnect) -> None:
    arm(bench, "token_expiry", count=1)

    for _ in range(2):
        with pytest.raises(TokenException) as refused:
            kite.orders()
        assert refused.value.code == 403
    assert bench.client().orders() == []


def test_faults_can_be_disarmed_and_a_wrong_one_is_refused(bench: Bench, kite: KiteConnect) -> None:
    arm(bench, "burst_429", probability=1)
    assert requests.delete(f"{bench.url}/sim/faults", timeout=5).json()["armed"] == []
    placed(kite)

    answer = requests.post(f"{bench.url}/sim/faults", json={"kind": "flood"}, timeout=5)
    assert (answer.status_code, answer.json()["error_type"]) == (400, "InputException")


def test_the_same_seed_fires_at_the_same_calls() -> None:
    def course(seed: int) -> list[bool]:
        faults = Faults(Scenario(seed=seed, faults=(Armed(kind=Fault.RESET_AFTER, probability=0.3),)))
        return [faults.of_call(Call.PLACE) is not None for _ in range(200)]

    assert course(1) == course(1) != course(2)
    assert 40 < sum(course(1)) < 80


def test_a_scenario_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("seed: 7\nfaults:\n  - {kind: timeout_after, probability: 0.1, seconds: 9}\n")
    assert read_scenario(path) == Scenario(
        seed=7, faults=(Armed(kind=Fault.TIMEOUT_AFTER, probability=0.1, seconds=9),)
    )

    path.write_text("faults:\n  - {kind: flood}\n")
    with pytest.raises(BadInput, match=r"entry faults\.0\.kind"):
        read_scenario(path)
