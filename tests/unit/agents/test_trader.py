"""The trader and its courier: durable before it is sent, sent once, and asked for rather than guessed."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps

import orjson

from agents.trading.courier import ABSENT, RECONCILE, resolve_setting
from panda_streams.codec import decode, encode
from panda_streams.domain.brokerage import AnswerKind, BrokerBook, BrokerStatus
from panda_streams.domain.callbook import CallKind, CallState, Due
from panda_streams.domain.orders import Reason
from panda_streams.domain.risk.modes import Mode
from panda_streams.events import Action, ActionKind, Level, OrderReport, StrangerReport
from panda_streams.topics import level_key
from tests.unit.agents.office import FakeBroker, Office
from tests.unit.builders import FUTURE, INFY, T0


def in_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    return run


def set_level(office: Office, setting: str, value: str, at: int = 1) -> None:
    level = Level(world="sim", scope="zerodha", setting=setting, value=value, who="asha", at=at, reason="a test")
    office.context.levels.apply("zerodha.control", level_key("zerodha", setting), encode(level))


@in_a_loop
async def test_an_order_is_sent_once_and_only_after_its_sending_is_durable() -> None:
    broker = FakeBroker()
    async with Office(broker) as office:
        seen = []
        broker.before_place = lambda: seen.append(office.state())

        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "taken")

        assert seen == [CallState.SENDING]
        assert broker.calls == ["place one"]
        assert office.known()[:2] == ["SENDING", "TAKEN"]


@in_a_loop
async def test_an_order_whose_answer_was_lost_is_found_and_not_sent_again() -> None:
    async with Office(FakeBroker()) as office:
        office.broker.fates.append("lost")

        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "found")

        assert "UNKNOWN" in office.known()
        assert office.broker.calls == ["place one"]


@in_a_loop
async def test_an_order_that_shows_late_is_waited_for() -> None:
    async with Office(FakeBroker()) as office:
        office.broker.fates.append("lost")
        office.broker.hidden.add("1")

        office.place()
        await office.until(lambda: office.state() is CallState.UNKNOWN, "unknown")
        await asyncio.sleep(0.05)  # less than the time after which it would be absent
        office.broker.hidden.clear()
        await office.until(lambda: office.state() is CallState.TAKEN, "found")

        assert "ABSENT" not in office.known()


@in_a_loop
async def test_an_order_that_never_arrived_is_absent_and_its_id_is_never_sent_again() -> None:
    async with Office(FakeBroker()) as office:
        office.broker.fates.append("lost before")

        office.place()
        await office.until(lambda: office.known()[-1:] == ["ABSENT"], "absent")
        office.restart()
        await office.looks(2)

        assert office.broker.calls == ["place one"]


@in_a_loop
async def test_a_call_that_was_under_way_when_its_worker_ended_is_asked_for_by_the_next_one() -> None:
    broker = FakeBroker()
    async with Office(broker) as office:
        broker.before_place = office_restarts(office)

        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "found")

        assert broker.tags.total() == 1
        assert "UNKNOWN" in office.known()


def office_restarts(office: Office) -> Callable[[], None]:
    """Ends the worker while a call is under way, once."""
    left = [True]

    def end() -> None:
        if left.pop() if left else False:
            done = asyncio.run_coroutine_threadsafe(_restarted(office), office._loop)
            done.result(5)

    return end


async def _restarted(office: Office) -> None:
    office.restart()


@in_a_loop
async def test_a_worker_that_has_lost_the_account_sends_nothing() -> None:
    async with Office(FakeBroker()) as office:
        office.licensed = False

        office.place()
        asked = office.licences
        await office.until(lambda: office.licences > asked + 2, "it has wanted to go on, and might not")
        assert office.broker.calls == []
        office.licensed = True
        await office.until(lambda: office.state() is CallState.TAKEN, "taken")


@in_a_loop
async def test_a_worker_that_loses_the_account_at_the_last_moment_does_not_send() -> None:
    async with Office(FakeBroker()) as office:
        looks = iter([True, False])
        office.__class__ = type("Watched", (Office,), {"licensed": property(lambda self: next(looks, True))})

        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "taken", within_s=10)

        assert office.broker.tags.total() == 1


@in_a_loop
async def test_a_courier_that_was_dismissed_does_not_send_though_its_worker_has_the_account_again() -> None:
    async with Office(FakeBroker()) as office:
        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "taken")
        call = office.row.book.calls["one"]
        dismissed = office.couriers[-1]
        office.restart()

        answer = dismissed._send(Due(CallKind.PLACE, "one", call))

        assert answer.kind is AnswerKind.THROTTLED
        assert office.broker.calls == ["place one"]


@in_a_loop
async def test_an_entry_that_is_about_to_leave_as_the_arm_is_halted_stays() -> None:
    async with Office(FakeBroker()) as office:
        office.place("entry")
        await office.until(lambda: office.state("entry") is CallState.TAKEN, "taken")
        entry, courier = office.row.book.calls["entry"], office.couriers[-1]

        set_level(office, "mode", "HALTED")
        answers = [
            courier._send(Due(CallKind.PLACE, "again", entry.model_copy(update={"closes": c}))) for c in (False, True)
        ]

        assert [answer.kind for answer in answers] == [AnswerKind.THROTTLED, AnswerKind.TAKEN]


@in_a_loop
async def test_without_a_login_orders_are_held_and_go_out_after_it() -> None:
    async with Office(FakeBroker(logged_in=False)) as office:
        office.place()
        await office.until(lambda: office.bench.task.agent.standing.wants_login, "it says so")
        assert office.state() is CallState.QUEUED

        office.broker.logged_in = True
        await office.until(lambda: office.state() is CallState.TAKEN, "taken")

        assert office.bench.task.agent.standing.trouble == ""


@in_a_loop
async def test_however_often_something_is_said_to_have_changed_the_book_is_read_only_so_often() -> None:
    async with Office(poll_s=10, look_s=10) as office:
        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "taken")
        looks = office.broker.looks

        for _ in range(50):
            office.couriers[-1]._hint()
            await asyncio.sleep(0.005)

        assert office.broker.looks <= looks + 2  # of a comparison that was under way


@in_a_loop
async def test_a_hard_halt_sends_cancellations_alone() -> None:
    async with Office(FakeBroker()) as office:
        office.place("resting")
        await office.until(lambda: office.state("resting") is CallState.TAKEN, "taken")
        set_level(office, "mode", "HALTED_HARD")

        office.place("exit", closes=True)
        office.place("entry")
        office.cancel("resting")
        await office.until(lambda: office.state("resting") is None, "cancelled")

        assert office.broker.calls == ["place resting", "cancel 1"]
        assert office.known("entry") == ["DROPPED"]
        assert office.state("exit") is CallState.QUEUED


@in_a_loop
async def test_a_change_reaches_the_broker() -> None:
    async with Office(FakeBroker()) as office:
        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "taken")

        office.modify(quantity=4)
        await office.until(lambda: office.broker.orders["1"].quantity == 4, "changed")

        await office.until(lambda: office.row.book.calls["one"].change is None, "the book shows it")


@in_a_loop
async def test_fills_reach_execution_and_an_order_that_has_ended_is_remembered() -> None:
    async with Office(FakeBroker(fills=True)) as office:
        office.place()
        await office.until(lambda: office.state() is None, "ended")

        [report] = [r for r in office.reports() if isinstance(r, OrderReport) and r.word.order is not None]
        assert (report.word.order.status, [trade.quantity for trade in report.word.trades]) == (
            BrokerStatus.COMPLETE,
            [10],
        )
        office.restart()
        await office.looks(2)
        assert not [r for r in office.reports() if isinstance(r, StrangerReport)]


@in_a_loop
async def test_what_the_account_holds_beside_the_books_is_found_once_at_the_start() -> None:
    async with Office(FakeBroker(extra={INFY: 25})) as office:
        await office.until(lambda: bool(office.reports()), "found")
        office.restart()
        await office.until(lambda: office.row.reconciled is not None, "compared")
        await office.comparisons(2)

        assert [r.stranger.quantity for r in office.reports() if isinstance(r, StrangerReport)] == [25]


@in_a_loop
async def test_what_the_account_seems_to_hold_for_a_moment_is_in_no_book() -> None:
    async with Office(FakeBroker(glimpsed=deque([Counter({INFY: 25})]))) as office:
        await office.until(lambda: office.row.reconciled is not None, "compared")

        assert office.broker.asked_for_holdings > 1
        assert office.reports() == []


@in_a_loop
async def test_what_the_books_have_gained_without_a_trade_is_no_difference() -> None:
    async with Office(FakeBroker(extra={INFY: 25}), reconcile_s=60) as office:
        await office.until(lambda: len(office.reports()) == 1, "found")
        office.broker.extra[INFY] = 50

        office.counts(25)
        assert office.row.reconciled is not None
        asked = office.broker.asked_for_holdings
        set_level(office, RECONCILE, "now", at=office.row.reconciled.at + 1)
        await office.until(lambda: office.broker.asked_for_holdings > asked, "looked")
        await office.until(lambda: office.row.book.held == {INFY: 50}, "compared")

        assert len(office.reports()) == 1


@in_a_loop
async def test_a_contract_that_has_expired_is_not_compared() -> None:
    async with Office(FakeBroker(extra={FUTURE.id: 50})) as office:
        await office.until(lambda: office.row.reconciled is not None, "compared")

        assert office.reports() == []


@in_a_loop
async def test_nothing_is_compared_with_a_book_that_lacks_trades_of_its_orders() -> None:
    async with Office(FakeBroker()) as office:
        office.place()
        await office.until(lambda: "BOOK" in office.known(), "seen")
        office.broker.late_trades = 8
        office.broker._fill("1")
        await office.until(lambda: office.state() is None, "ended")

        assert not [r for r in office.reports() if isinstance(r, StrangerReport)]


@in_a_loop
async def test_an_order_with_our_label_in_no_book_halts_the_arm() -> None:
    broker = FakeBroker()
    async with Office(broker) as office:
        office.place("ghost")
        await office.until(lambda: office.state("ghost") is CallState.TAKEN, "taken")
    ghost = Office(broker)
    async with ghost as office:
        await office.until(lambda: bool(office.row.quarantine), "quarantined")

        [stop] = [decode(Action, output.value) for output in office.bench.to("zerodha.audit")]
        assert (stop.what, stop.mode) == (ActionKind.STOP, Mode.HALTED)


@in_a_loop
async def test_an_operators_word_ends_an_order_that_nobody_can_ask_about() -> None:
    async with Office(FakeBroker()) as office:
        office.broker.fates.append("lost before")
        office.place()
        await office.until(lambda: "UNKNOWN" in office.known(), "unknown")
        set_level(office, resolve_setting("one"), ABSENT)

        await office.until(lambda: office.state() is None, "resolved")


@in_a_loop
async def test_an_order_of_an_earlier_day_that_an_operator_has_resolved_is_overdue_no_more() -> None:
    async with Office(FakeBroker(fates=deque(["lost before"]))) as office:
        office.place()
        await office.until(lambda: office.state() is CallState.UNKNOWN, "unknown")
        office.bench.rows[b"zerodha"] = re.sub(rb'"day":"[^"]+"', b'"day":"2021-06-08"', office.bench.rows[b"zerodha"])
        office.restart()
        await office.until(lambda: office.row.overdue == ("one",), "overdue")

        set_level(office, resolve_setting("one"), ABSENT)
        await office.until(lambda: office.state() is None, "resolved")

        assert office.row.overdue == ()
        assert office.known()[-1] == "ABSENT"


@in_a_loop
async def test_the_line_to_the_broker_is_mirrored_again_with_the_row() -> None:
    async with Office(FakeBroker(logged_in=False)) as office:
        agent = office.bench.task.agent
        await office.until(lambda: agent.standing.wants_login, "it says so")
        office.context.mirror.values.clear()  # an emptied Redis

        list(agent.mirror(office.bench.rows.items()))

        link = orjson.loads(office.context.mirror.values["zerodha:link"])
        assert (link["endpoint"], link["trouble"]) == ("memory", agent.standing.trouble)


@in_a_loop
async def test_an_entry_that_is_too_old_is_not_sent() -> None:
    async with Office(FakeBroker()) as office:
        office.place(until=T0)
        await office.until(lambda: office.known() == ["DROPPED"], "dropped")

        [report] = [r for r in office.reports() if isinstance(r, OrderReport)]
        assert report.word.reason is Reason.TOO_LATE
        assert office.broker.calls == []


@in_a_loop
async def test_on_the_replay_clock_the_broker_goes_on_once_all_commands_were_sent_and_beats_say_so() -> None:
    async with Office(FakeBroker(), ordered=True) as office:
        office.place(time_ms=T0 + 500)
        office.beat(T0 + 1000)
        await office.until(lambda: office.broker.clock == T0 + 1000, "advanced")
        await office.until(lambda: office.beats()[-1:] == [T0 + 1000], "said")

        assert office.broker.calls == ["place one"]
        assert all(report.time > T0 for report in office.reports())


@in_a_loop
async def test_on_the_replay_clock_time_stands_still_while_an_order_is_unknown() -> None:
    async with Office(FakeBroker(fates=deque(["lost"])), ordered=True) as office:
        office.broker.hidden.add("1")
        office.place(time_ms=T0 + 500)
        office.beat(T0 + 1000)
        await office.until(lambda: office.state() is CallState.UNKNOWN, "unknown")
        await asyncio.sleep(0.05)
        assert office.broker.clock < T0 + 1000

        office.broker.hidden.clear()
        await office.until(lambda: office.broker.clock == T0 + 1000, "advanced")


@in_a_loop
async def test_whatever_is_lost_and_whoever_is_killed_no_order_is_there_twice_and_none_stays_unknown() -> None:
    chance = random.Random(7)
    broker = FakeBroker(fills=True)
    async with Office(broker) as office:
        for number in range(40):
            broker.fates.append(chance.choice(["taken", "taken", "lost", "lost before", "throttled", "refused"]))
            office.place(f"order{number}", closes=True)
            if chance.random() < 0.15:
                await asyncio.sleep(chance.random() * 0.05)
                office.restart()
        deadline = time.monotonic() + 60
        while office.row.book.calls and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            if chance.random() < 0.05:
                office.restart()

        assert not office.row.book.calls
        assert max(broker.tags.values()) == 1
        ends = {"BOOK", "REFUSED", "ABSENT"}
        assert all(office.known(f"order{number}")[-1] in ends for number in range(40))
        taken = {order.tag for order in broker.orders.values()}
        told = {f"order{number}" for number in range(40) if office.known(f"order{number}")[-1] == "BOOK"}
        assert {office._trader.tag(name) for name in told} == taken
        assert not [r for r in office.reports() if isinstance(r, StrangerReport)]
        assert not office.row.quarantine


@in_a_loop
async def test_what_an_order_has_traded_that_the_book_shows_late_is_not_taken_for_somebody_elses() -> None:
    async with Office(FakeBroker(fills=True)) as office:
        office.broker.hidden.add("1")

        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "taken")
        await asyncio.sleep(0.15)  # longer than from one comparison with what the account holds to the next
        office.broker.hidden.clear()
        await office.until(lambda: office.known()[-1:] == ["BOOK"], "seen")

        assert not [report for report in office.reports() if isinstance(report, StrangerReport)]


@in_a_loop
async def test_an_order_that_the_book_shows_late_holds_the_simulated_clock_up() -> None:
    async with Office(FakeBroker(fills=True), ordered=True) as office:
        office.broker.hidden.add("1")

        office.place()
        office.beat(T0 + 5000)
        await office.until(lambda: office.state() is CallState.TAKEN, "taken")
        await asyncio.sleep(0.05)  # less than the time after which an unknown one would be absent
        assert office.broker.clock == 0
        office.broker.hidden.clear()
        await office.until(lambda: office.broker.clock == T0 + 5000, "matched up to the beat")

        assert office.known()[-1] == "BOOK"


@in_a_loop
async def test_a_courier_that_is_woken_while_it_is_dismissed_ends_and_its_worker_goes_on() -> None:
    for turns in range(5):
        async with Office(FakeBroker()) as office:
            await office.until(lambda: office.row.reconciled is not None, "it has nothing left to do")
            courier = office.couriers[-1]
            courier._hint()
            for _ in range(turns):
                await asyncio.sleep(0)
            office.bench.task.close()
            _, left = await asyncio.wait(courier._tasks, timeout=5)

            assert not left
            assert not office.broken


@in_a_loop
async def test_a_storm_of_updates_does_not_make_a_storm_of_questions() -> None:
    class Counting(FakeBroker):
        reads = 0

        def book(self, *, overnight: bool) -> BrokerBook:
            self.reads += 1
            return super().book(overnight=overnight)

    broker = Counting()
    async with Office(broker) as office:
        type(office._trader).pace = replace(office._trader.pace, poll_s=5.0, look_s=0.3, reconcile_s=60.0)
        office.place()
        await office.until(lambda: office.known()[-1:] == ["BOOK"], "seen")
        before, until = broker.reads, time.monotonic() + 0.7
        while time.monotonic() < until:
            office.couriers[-1]._hint()
            await asyncio.sleep(0.005)

        assert 1 <= broker.reads - before <= 3


@in_a_loop
async def test_on_the_replay_clock_no_order_of_the_next_day_leaves_while_one_is_unknown() -> None:
    async with Office(FakeBroker(fates=deque(["lost"])), ordered=True) as office:
        office.broker.hidden.add("1")
        office.place(time_ms=T0 + 500)
        await office.until(lambda: office.state() is CallState.UNKNOWN, "unknown")

        office.place("two", closes=True, time_ms=T0 + 86_400_000)
        await asyncio.sleep(0.05)
        assert office.broker.calls == ["place one"]
        office.broker.hidden.clear()
        await office.until(lambda: office.state("two") is CallState.TAKEN, "sent")

        assert office.known()[-1] == "BOOK"
        assert "ABSENT" not in office.known()


@in_a_loop
async def test_an_order_that_the_book_leaves_out_for_a_while_is_nobody_elses() -> None:
    async with Office(FakeBroker()) as office:
        office.place()
        await office.until(lambda: office.known()[-1:] == ["BOOK"], "seen")

        office.broker.hidden.add("1")
        office.broker._fill("1")
        await office.comparisons(2)
        office.broker.hidden.clear()
        await office.until(lambda: office.state() is None, "filled")

        assert not [report for report in office.reports() if isinstance(report, StrangerReport)]


@in_a_loop
async def test_a_stop_that_rests_overnight_and_whose_answer_was_lost_is_found_and_not_placed_again() -> None:
    async with Office(FakeBroker()) as office:
        office.broker.fates.append("lost")

        office.rest()
        await office.until(lambda: office.state("stop") is CallState.TAKEN, "found")
        office.restart()
        office.cancel("stop")
        await office.until(lambda: office.state("stop") is None, "gone")

        assert office.broker.calls == ["place stop", "cancel gtt:1"]
        assert office.known("stop")[-2:] == ["BOOK", "DROPPED"]
        assert not office.row.found


@in_a_loop
async def test_a_stop_that_rests_overnight_and_fires_reaches_execution_as_one_order() -> None:
    async with Office(FakeBroker()) as office:
        office.place()
        await office.until(lambda: office.state() is CallState.TAKEN, "bought")
        office.broker._fill("1")
        office.rest()
        await office.until(lambda: office.state("stop") is CallState.TAKEN, "rests")

        office.broker.fire("gtt:2")
        await office.until(lambda: office.state("stop") is None, "done")
        [report] = [one for one in office.reports() if isinstance(one, OrderReport) and one.word.trades][-1:]

        assert (report.order_id, report.word.broker_id, report.word.trades[0].quantity) == ("stop", "gtt:2", 10)
        assert (office.row.book.held, office.row.found) == ({}, 0)
