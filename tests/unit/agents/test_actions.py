"""What operators want done to the books: an action that cannot be done is refused in words, and changes nothing."""

from __future__ import annotations

from decimal import Decimal

from agents.account.bookkeeping import carry_out
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.risk.account import Account, Book
from panda_streams.events import Action, ActionKind
from tests.unit.builders import INFY, T0


def test_a_bonus_that_gives_no_share_is_refused_and_changes_nothing() -> None:
    account = Account(books={"Momentum": Book(cash=Decimal(1000), positions={INFY: 10})})
    bonus = Action(
        world="sim",
        namespace="paper",
        action_id="1",
        what=ActionKind.BONUS,
        instrument=INFY,
        ratio=Ratio(new=1, old=2),
        price=Decimal(100),
        who="asha",
        at=T0,
        reason="1:2",
    )

    done = carry_out(account, bonus, Decimal(0), T0, halted=True)

    assert not done.done
    assert done.account == account
    assert "1 for 2" in done.detail
