"""The routes that reckon without trading: margins of orders and baskets, and the charges of a contract note."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from panda_streams.domain.calendar import trading_date
from panda_streams.domain.charges import Charges, Head, fill_charges, merge, total
from panda_streams.domain.instruments import InstrumentKind
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Side
from panda_streams.kitesim.account import margin
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.front import Front, Handler, answer, json_of
from panda_streams.kitesim.orders import ZERO
from panda_streams.kitesim.rules import OrderForm, read_form
from panda_streams.kitesim.shapes import number

__all__ = ["MarginCalls"]

Shape = dict[str, Any]


class MarginCalls:
    """What orders would need and cost at one engine."""

    def __init__(self, front: Front, engine: Engine) -> None:
        self._front = front
        self._broker = engine.broker

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", "/margins/orders", self._orders),
            ("POST", "/margins/basket", self._basket),
            ("POST", "/charges/orders", self._charges),
        ]

    async def _orders(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        return answer([self._margin(form) for form in await self._forms(request)])

    async def _basket(self, request: web.Request) -> web.StreamResponse:
        """The sum of all orders, and what is left of it once those that close what others open are taken off."""
        self._front.enter(request)
        forms = await self._forms(request)
        considered = request.query.get("consider_positions") == "true"
        orders = [self._margin(form) for form in forms]
        return answer(
            {
                "initial": _summed([self._required(form, form.quantity) for form in forms]),
                "final": _summed(self._opening(forms, considered=considered)),
                "orders": orders,
                "charges": self._charges_of_all(forms),
            }
        )

    def _opening(self, forms: list[OrderForm], *, considered: bool) -> list[tuple[OrderForm, Decimal]]:
        held: dict[tuple[str, Product], int] = {}
        needs = []
        for form in forms:
            key = (form.instrument.id, form.product)
            before = held.setdefault(key, self._broker.account.held(*key) if considered else 0)
            signed = form.quantity if form.side is Side.BUY else -form.quantity
            held[key] = before + signed
            closes = min(abs(before), form.quantity) if before * signed < 0 else 0
            needs.append(self._required(form, form.quantity - closes))
        return needs

    def _required(self, form: OrderForm, quantity: int) -> tuple[OrderForm, Decimal]:
        return form, margin(form.instrument, form.product, form.side, quantity, self._price(form))

    def _margin(self, form: OrderForm) -> Shape:
        needed = self._required(form, form.quantity)
        parts = _parts([needed])
        equity = form.instrument.kind is InstrumentKind.EQUITY
        leverage = 5 if equity and form.product is Product.MIS else 1
        return {
            **_blank(),
            "type": "equity",
            "tradingsymbol": form.instrument.symbol,
            "exchange": form.instrument.exchange,
            **parts,
            "leverage": leverage,
            "charges": self._charges_of(form, self._price(form)),
            "total": number(needed[1]),
        }

    async def _charges(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        rows = await self._rows(request)
        shapes = []
        for row in rows:
            form = self._form(row)
            price = Decimal(str(row.get("average_price") or 0)) or self._price(form)
            shapes.append(
                {
                    "transaction_type": form.side.value,
                    "tradingsymbol": form.instrument.symbol,
                    "exchange": form.instrument.exchange,
                    "variety": form.variety.value,
                    "product": form.product.value,
                    "order_type": form.order_type.value,
                    "quantity": form.quantity,
                    "price": number(price),
                    "charges": self._charges_of(form, price),
                }
            )
        return answer(shapes)

    async def _rows(self, request: web.Request) -> list[Mapping[str, Any]]:
        rows = await json_of(request)
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise Refused(ErrorType.INPUT, "Expected a list of orders.")
        return rows

    async def _forms(self, request: web.Request) -> list[OrderForm]:
        return [self._form(row) for row in await self._rows(request)]

    def _form(self, row: Mapping[str, Any]) -> OrderForm:
        texts = {name: str(value) for name, value in row.items() if value is not None}
        form = read_form(texts.get("variety", "regular"), texts, self._broker.instruments)
        if form.quantity <= 0:
            raise Refused(ErrorType.INPUT, "Quantity should be a positive whole number.")
        return form

    def _price(self, form: OrderForm) -> Decimal:
        return form.price or form.trigger or self._broker.view.price(form.instrument) or ZERO

    def _charges_of_all(self, forms: list[OrderForm]) -> Shape:
        return _charges_shape(merge(*(self._charged(form, self._price(form)) for form in forms)), "")

    def _charges_of(self, form: OrderForm, price: Decimal) -> Shape:
        charges = self._charged(form, price)
        return _charges_shape(charges, "ctt" if Head.CTT in charges else "stt")

    def _charged(self, form: OrderForm, price: Decimal) -> Charges:
        """The charges of an order that is filled at a price, by head; none where no price is known."""
        if price <= 0:
            return {}
        on = trading_date(self._broker.time or 0)
        try:
            return fill_charges(form.instrument, form.product, form.side, form.quantity, price, on, ZERO)
        except ValueError as error:
            raise Refused(ErrorType.INPUT, str(error)) from None


def _charges_shape(charges: Mapping[str, Decimal], tax_type: str) -> Shape:
    def of(*heads: Head) -> Decimal:
        return sum((charges.get(head, ZERO) for head in heads), ZERO)

    return {
        "transaction_tax": number(of(Head.STT, Head.CTT)),
        "transaction_tax_type": tax_type,
        "exchange_turnover_charge": number(of(Head.TRANSACTION)),
        "sebi_turnover_charge": number(of(Head.SEBI)),
        "brokerage": number(of(Head.BROKERAGE)),
        "stamp_duty": number(of(Head.STAMP)),
        "gst": {"igst": number(of(Head.GST)), "cgst": 0, "sgst": 0, "total": number(of(Head.GST))},
        "total": number(total(charges)),
    }


def _blank() -> Shape:
    return {
        "type": "",
        "tradingsymbol": "",
        "exchange": "",
        "span": 0,
        "exposure": 0,
        "option_premium": 0,
        "additional": 0,
        "bo": 0,
        "cash": 0,
        "var": 0,
        "pnl": {"realised": 0, "unrealised": 0},
        "leverage": 0,
        "charges": _charges_shape({}, ""),
        "total": 0,
    }


def _parts(needs: list[tuple[OrderForm, Decimal]]) -> Shape:
    """Margins by what they are for: shares as VaR, options bought as their premium, the rest as SPAN."""
    parts = {"span": ZERO, "option_premium": ZERO, "var": ZERO}
    for form, amount in needs:
        if form.instrument.kind is InstrumentKind.EQUITY:
            parts["var"] += amount
        elif form.instrument.kind is InstrumentKind.OPTION and form.side is Side.BUY:
            parts["option_premium"] += amount
        else:
            parts["span"] += amount
    return {name: number(amount) for name, amount in parts.items()}


def _summed(needs: list[tuple[OrderForm, Decimal]]) -> Shape:
    return {**_blank(), **_parts(needs), "total": number(sum((amount for _, amount in needs), ZERO))}
