// The page: draws the state that the gateway sends. Whatever came from outside is set as text, never as HTML.

import { ago, clockTime, count, marketTime, money, signOf } from "/amounts.js";

const POLL_MS = 2000;
const FRESH_MS = 10000;

/** Wall time of the gateway minus that of this browser: the largest seen, for an event can only be late. */
let offset = -Infinity;
let lastAnswer = null;

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Makes `old` look like `fresh` with as few changes as possible: a selection and an opened row stay as they are. */
function morph(old, fresh) {
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, index) => {
    const there = before[index];
    if (there === undefined) {
      old.append(node);
    } else if (there.nodeName !== node.nodeName || there.dataset?.key !== node.dataset?.key) {
      there.replaceWith(node);
    } else if (node.nodeType === Node.TEXT_NODE) {
      if (there.data !== node.data) there.data = node.data;
    } else {
      for (const { name } of [...there.attributes]) {
        if (!node.hasAttribute(name) && name !== "open") there.removeAttribute(name);
      }
      for (const { name, value } of node.attributes) {
        if (name !== "open" && there.getAttribute(name) !== value) there.setAttribute(name, value);
      }
      morph(there, node);
    }
  });
  before.slice(after.length).forEach((node) => node.remove());
}

function show(id, ...children) {
  morph(document.getElementById(id), el("div", null, ...children));
}

const now = () => Date.now() + (offset === -Infinity ? 0 : offset);
const absent = (reason) => el("span", { class: "absent", title: reason || "not known" }, "–");
const age = (at) => (at === null ? absent("never") : el("time", { "data-at": at }, ago(now() - at)));
const when = (time) => (time === null ? absent("no event yet") : marketTime(time));

function figure(text, currency, reason, { signed = false, symbol = true } = {}) {
  if (text === null || text === undefined) return absent(reason);
  const tone = signed ? ["loss", "flat", "gain"][signOf(text) + 1] : "flat";
  return el("span", { class: `money ${tone}`, title: `${text} ${currency ?? ""}`.trim() }, money(text, currency, { signed, symbol }));
}

function field(name, value, wide) {
  return el("div", { class: wide ? "field wide" : "field" }, el("dt", null, name), el("dd", null, value));
}

function drawProcesses(page) {
  const chips = page.processes.map((view) => {
    const silent = now() - view.at > FRESH_MS;
    const done = view.state === "finished" || view.state === "stopped";
    const tone = done ? "idle" : silent ? "bad" : view.ready ? "good" : "wait";
    const name = view.namespace ? `arm ${view.namespace}` : view.role;
    const state = silent && !done ? `silent (was ${view.state})` : view.state + (view.ready || done ? "" : ", not ready");
    return el("article", { class: `process ${tone}`, "data-key": `${name}/${view.instance}` },
      el("h3", null, name, view.instance ? ` ${view.instance}` : ""),
      el("p", { class: "state" }, state, " · ", age(view.at), " ago"),
      view.detail && el("p", { class: "detail" }, view.detail),
      el("p", { class: "facts" },
        view.lag === null ? "" : `lag ${count(view.lag)} · `, `${count(view.events)} ${view.role === "gateway" ? "requests" : "events"}`),
      view.last_event_time === null ? null : el("p", { class: "facts" }, marketTime(view.last_event_time)));
  });
  if (!chips.length) chips.push(el("p", { class: "absent" }, "No process has reported yet."));
  show("processes", chips);
}

function waiting(view) {
  if (view.signals_waiting === null) return "no count of signals waiting: the brain has sent none yet";
  return `${count(view.signals_waiting)} ${view.signals_waiting === 1 ? "signal" : "signals"} waiting`;
}

const MODE_TONES = { ACTIVE: "plain", REDUCING: "wait", HALTED: "bad", HALTED_HARD: "worst" };

function armLine(view) {
  if (view.arm === "running") {
    const mode = view.mode ?? "mode not known";
    const byOperators = view.mode !== "ACTIVE" && view.mode === view.operators_mode; // else it is a stop's, which says why
    return el("p", { class: "arm" },
      el("span", { class: `pill ${view.ready ? "good" : "wait"}` }, view.ready ? "arm running" : "arm not ready"),
      el("span", { class: `pill ${MODE_TONES[view.mode] ?? "plain"}` }, mode),
      el("span", { class: "quiet" }, waiting(view)),
      byOperators && view.mode_reason ? el("span", { class: "why" }, view.mode_reason) : null,
      view.detail ? el("span", { class: "why" }, view.detail) : null);
  }
  return el("div", { class: "noarm" },
    el("strong", null, view.arm === "none" ? "No arm is running" : "The arm has stopped"),
    el("span", null, waiting(view)),
    el("small", null, view.reason, view.at === null ? "" : "; last heard of ", view.at === null ? null : age(view.at), view.at === null ? "" : " ago"));
}

const ENDPOINTS = { simulator: "SIMULATOR", sandbox: "SANDBOX", production: "REAL MONEY" };

/** What is at the other end: a live arm whose endpoint is not known yet may be at any. */
function badge(view) {
  if (!view.live) return "PAPER";
  return view.link ? ENDPOINTS[view.link.endpoint] ?? view.link.endpoint.toUpperCase() : "LIVE";
}

/** What a live arm has at its broker, and what no book of it explains. */
function atBroker(view) {
  const [link, found] = [view.link, view.at_broker];
  if (!view.live || (!link && !found)) return null;
  const wrong = [];
  if (link?.trouble) wrong.push(["Nothing can be sent", link.trouble]);
  if (found?.unknown.length) wrong.push(["Unknown whether at the broker", found.unknown.join(", ")]);
  for (const order of found?.quarantine ?? []) wrong.push(["At the broker, in no book", `${order.side} ${count(order.quantity)} ${order.instrument}, ${order.status} (${order.broker_id})`]);
  for (const other of found?.unlisted ?? []) wrong.push(["Held, and not in the list of instruments", `${count(other.quantity)} ${other.instrument}`]);
  const calls = found ? Object.values(found.calls).reduce((sum, number) => sum + number, 0) : null;
  return el("section", { class: "atbroker", "aria-label": "At the broker" },
    el("dl", { class: "figures" },
      field("Orders in hand", calls === null ? absent("not known yet") : count(calls)),
      field("Sent today", found?.orders_date ? el("span", { title: found.orders_date }, count(found.orders_today)) : absent("none was sent yet")),
      field("Compared with the broker", found?.reconciled ? el("span", null, age(found.reconciled.at), " ago") : absent("not yet"))),
    wrong.map(([what, text]) => el("p", { class: "why", "data-key": `${what}/${text}` }, el("strong", null, what), ` ${text}`)));
}

/** What the arm has stopped by itself, or an operator has flattened: until somebody resumes it. */
function stops(view) {
  if (!view.stops.length) return null;
  return el("section", { class: "stops", "aria-label": "Stops" }, view.stops.map((stop) =>
    el("div", { class: `stop ${MODE_TONES[stop.mode] ?? "bad"}`, "data-key": `${stop.reason}/${stop.level}` },
      el("p", null, el("strong", null, stop.reason), ` · ${stop.level.replace(":", " ")} ${stop.mode} since `,
        el("span", { title: marketTime(stop.since) }, clockTime(stop.since))),
      stop.detail ? el("p", null, stop.detail) : null,
      el("p", { class: "fix" }, `Fix: ${stop.fix}`))));
}

/** The way of an event to the books: how far each stage has come, behind the feed, and what holds it up. */
function stages(view) {
  if (!view.stages.length) return null;
  const waits = new Map();
  for (const { stage, waits: what } of view.stages) if (what) waits.set(what, [...(waits.get(what) ?? []), stage]);
  return el("section", { class: "way", "aria-label": "Event time of each stage" },
    el("ol", { class: "stages" }, view.stages.map((stage) => el("li", { "data-key": stage.stage, class: stage.waits && !(stage.behind_ms < FRESH_MS) ? "waits" : null },
      el("span", { class: "stage" }, stage.stage),
      stage.reached === null ? absent(stage.waits || "no beat yet")
        : el("span", { title: marketTime(stage.reached) }, clockTime(stage.reached)),
      el("span", { class: "behind" }, stage.behind_ms === null ? "" : `${stage.behind_ms < 1000 ? "" : "\u2212"}${ago(stage.behind_ms)}`)))),
    [...waits].map(([what, names]) => el("p", { class: "why" }, `${names.join(", ")}: ${what}`)));
}

const DAYS_PROFIT = "since the trading day began, open positions and charges included";
const NO_DAY = "no trading day has begun";

function totals(view) {
  const sum = view.summary;
  const reason = sum.reason || view.reason;
  const figures = (name, key, options) => field(name, figure(sum[key], sum.currency, reason, options));
  return el("dl", { class: sum.stale ? "totals stale" : "totals" },
    field("Equity", figure(sum.equity, sum.currency, reason), true),
    figures("Cash", "cash"),
    figures("Capital", "capital"),
    figures("Realised", "realised", { signed: true }),
    figures("Unrealised", "unrealised", { signed: true }),
    figures("Charges", "charges"),
    field("Open positions", sum.at === null ? absent(reason) : count(sum.open_positions)),
    field("Fills", sum.at === null ? absent(reason) : count(sum.fills)),
    field("Day's profit", view.day ? el("span", { title: `${view.day.date}: ${DAYS_PROFIT}` },
      figure(view.day.profit, view.currency, "", { signed: true })) : absent(reason || NO_DAY)),
    field("Orders of the day", view.day ? count(view.day.orders) : absent(reason || NO_DAY)),
    field("Age of the numbers", sum.at === null ? absent(reason) : el("span", null, age(sum.at), sum.stale ? el("em", { class: "mark" }, "behind") : null)));
}

function positions(book) {
  const open = book.positions.filter((position) => position.quantity !== 0);
  if (!open.length) return el("p", { class: "quiet" }, "No open position.");
  const plain = { symbol: false };
  return el("div", { class: "scroll" }, el("table", { class: "positions" },
    el("thead", null, el("tr", null, ...["Instrument", "Qty", "Average", "Last", "Unrealised", "Age"].map((name, index) =>
      el("th", { class: index ? "number" : null, scope: "col" }, name)))),
    el("tbody", null, open.map((position) => el("tr", { "data-key": position.instrument, class: position.stale ? "stale" : null },
      el("th", { scope: "row" }, position.instrument, position.product ? el("small", null, position.product) : null),
      el("td", { class: "number" }, count(position.quantity)),
      el("td", { class: "number" }, figure(position.average_price, book.currency, "no average price", plain)),
      el("td", { class: "number" }, figure(position.last_price, book.currency, "no price since the position was opened", plain)),
      el("td", { class: "number" }, figure(position.unrealised, book.currency, "no last price yet", { signed: true, symbol: false })),
      el("td", { class: "number" }, age(position.at), position.stale ? el("em", { class: "mark" }, "behind") : null))))));
}

function strategy(view, strategyId, book, config) {
  const flags = [];
  if (config?.state === "paused") flags.push(el("span", { class: "pill bad", title: config.reason }, "paused"));
  if (view.live && config && !config.consents[view.namespace]) {
    flags.push(el("span", { class: "pill plain", title: `set ${view.namespace}_trading_enabled: true in its configuration` }, "no consent to trade live"));
  }
  for (const stop of view.stops.filter(({ level }) => level === `strategy:${strategyId}`)) {
    flags.push(el("span", { class: `pill ${MODE_TONES[stop.mode] ?? "bad"}`, title: `${stop.reason}: ${stop.detail}` }, stop.mode));
  }
  const head = el("div", { class: "name" }, el("h3", null, strategyId), ...flags);
  const pause = config?.state === "paused" ? el("p", { class: "why" }, config.reason) : null;
  if (!book) {
    const reason = view.reason || "no book yet";
    return el("section", { class: "strategy", "data-key": strategyId }, head, pause,
      el("p", { class: "quiet" }, absent(reason), ` ${reason}`));
  }
  const amount = (name, key, options) => field(name, figure(book[key], book.currency, "a position has no last price yet", options));
  return el("section", { class: "strategy", "data-key": strategyId }, head, pause,
    el("dl", { class: book.stale ? "figures stale" : "figures" },
      amount("Equity", "equity"), amount("Cash", "cash"),
      amount("Realised", "realised", { signed: true }), amount("Unrealised", "unrealised", { signed: true }),
      amount("Charges", "charges"),
      field("Fills", count(book.fills)),
      field("Age", el("span", null, age(book.at), book.stale ? el("em", { class: "mark" }, "behind") : null))),
    el("details", { open: book.open_positions > 0 && book.open_positions <= 8 },
      el("summary", null, `${count(book.open_positions)} open ${book.open_positions === 1 ? "position" : "positions"}`),
      positions(book)));
}

const ORDERS_SHOWN = 50;

/** The orders that wait for the market: of one account, oldest first. */
function orders(view) {
  if (!view.orders.length) return null;
  const price = (text) => figure(text, view.currency, "", { symbol: false });
  const more = view.orders.length - ORDERS_SHOWN;
  return el("section", { class: "orders", "aria-label": "Working orders" }, el("details", { open: view.orders.length <= 8 },
    el("summary", null, `${count(view.orders.length)} working ${view.orders.length === 1 ? "order" : "orders"}`),
    el("div", { class: "scroll" }, el("table", null,
      el("thead", null, el("tr", null, ...["Instrument", "Order", "Filled", "Price"].map((name, index) =>
        el("th", { class: index > 1 ? "number" : null, scope: "col" }, name)))),
      el("tbody", null, view.orders.slice(0, ORDERS_SHOWN).map((order) => el("tr", { "data-key": order.order_id, title: `${order.order_id} ${order.state}, since ${marketTime(order.time)}` },
        el("th", { scope: "row" }, order.instrument, el("small", null, order.product), el("div", { class: "quiet" }, order.strategy_id)),
        el("td", null, order.side, el("div", { class: "quiet" }, `${order.role} ${order.order_type}`)),
        el("td", { class: "number" }, `${count(order.filled)} / ${count(order.quantity)}`),
        el("td", { class: "number" }, order.price === null ? "market" : price(order.price),
          order.trigger === null ? null : el("div", { class: "quiet" }, "trigger ", price(order.trigger)))))))),
    more > 0 ? el("p", { class: "quiet" }, `${count(more)} more at /api/v1/orders/${view.namespace}`) : null));
}

const REFUSALS_SHOWN = 5;

/** Event times among the values of a rule are milliseconds since the epoch. */
const readable = (finding) => finding.replace(/\b\d{13}\b/g, (time) => clockTime(Number(time)));

function refusalList(found) {
  return el("ul", { class: "refused" }, found.map((refusal) => el("li", { "data-key": refusal.signal_id },
    el("span", { class: "quiet", title: marketTime(refusal.time) }, clockTime(refusal.time)), ` ${refusal.strategy_id} ${refusal.instrument} `,
    (refusal.findings.length ? refusal.findings : refusal.codes).map((finding) => el("span", { class: "pill plain" }, readable(finding))))));
}

function lastRefusals(view) {
  const [shown, more] = [view.recent_refusals.slice(0, REFUSALS_SHOWN), view.recent_refusals.slice(REFUSALS_SHOWN)];
  if (!shown.length) return null;
  return el("section", { "aria-label": "Last refusals" }, el("p", null, "Last refused"), refusalList(shown),
    more.length ? el("details", null, el("summary", null, `${more.length} before them`), refusalList(more)) : null);
}

function refusals(view) {
  const codes = Object.entries(view.refusals).sort((a, b) => b[1] - a[1]);
  const handled = view.signals === null ? absent(view.reason) : count(view.signals);
  return el("footer", null,
    el("p", null, "Signals handled ", handled, " · passed ", view.validated === null ? absent(view.reason) : count(view.validated),
      " · refused ", view.rejected === null ? absent(view.reason) : count(view.rejected)),
    codes.length ? el("p", { class: "codes" }, codes.map(([code, number]) => el("span", { class: "pill plain" }, `${code} ${count(number)}`))) : null,
    lastRefusals(view));
}

function drawNamespaces(page) {
  const configs = new Map(page.strategies.map((config) => [config.strategy_id, config]));
  show("namespaces", page.namespaces.map((view) => {
    const books = new Map(view.portfolios.map((book) => [book.strategy_id, book]));
    const names = [...new Set([...view.strategies, ...books.keys()])].sort();
    const kind = !view.live ? "paper" : view.link && view.link.endpoint !== "production" ? "live pretend" : "live";
    return el("article", { class: `broker ${kind} arm-${view.arm}`, "data-key": view.namespace },
      el("header", null,
        el("h2", null, view.title, view.title.toLowerCase() === view.namespace ? null : el("small", null, view.namespace)),
        el("span", { class: "badge" }, badge(view))),
      armLine(view),
      stops(view),
      stages(view),
      view.arm === "none" ? null : atBroker(view),
      view.arm === "none" ? null : totals(view),
      names.length ? names.map((name) => strategy(view, name, books.get(name), configs.get(name)))
        : el("p", { class: "quiet" }, "No strategy lists this broker."),
      orders(view),
      view.arm === "none" ? null : refusals(view),
      view.arm === "none" ? null : el("p", { class: "quiet eventtime" }, "Last event ", when(view.last_event_time)));
  }));
}

function notice(kind, text) {
  return el("p", { class: `notice ${kind}` }, text);
}

let outage = null;
function drawNotices() {
  const page = lastAnswer;
  show("notices",
    page?.world_note ? notice("world", page.world === "sim"
      ? `${page.world_note}: made-up prices, no real money` : `${page.world_note}: recorded prices, no real money`) : null,
    outage ? notice("bad", `${outage.message}. Fix: ${outage.fix}.${page ? " The numbers below stand still." : ""}`) : null,
    (page?.problems ?? []).map((problem) => notice("bad", problem)));
}

function draw(page) {
  offset = Math.max(offset, page.now - Date.now());
  lastAnswer = page;
  outage = null;
  document.title = `panda · ${page.world}`;
  show("world", page.world);
  drawNotices();
  drawProcesses(page);
  drawNamespaces(page);
}

function fail(error) {
  outage = error;
  drawNotices();
}

function link(tone, text) {
  const node = document.getElementById("link");
  node.className = tone;
  if (node.textContent !== text) node.textContent = text;
}

async function poll() {
  try {
    const response = await fetch("/api/v1/page");
    const answer = await response.json();
    if (response.ok) draw(answer);
    else fail(answer.error);
    link("wait", "polling");
  } catch {
    link("bad", "gateway away");
    fail({ message: "The gateway does not answer", fix: "see `panda status`; this page goes on by itself" });
  }
}

function follow() {
  const events = new EventSource("/api/v1/events");
  let polling = null;
  events.addEventListener("open", () => {
    clearInterval(polling);
    polling = null;
    link("good", "live");
  });
  events.addEventListener("state", (event) => {
    link("good", "live");
    draw(JSON.parse(event.data));
  });
  events.addEventListener("outage", (event) => {
    link("bad", "standing still");
    fail(JSON.parse(event.data));
  });
  events.addEventListener("error", () => {
    if (polling === null) {
      poll();
      polling = setInterval(poll, POLL_MS);
    }
    if (events.readyState === EventSource.CLOSED) setTimeout(() => { clearInterval(polling); follow(); }, 5 * POLL_MS);
  });
}

setInterval(() => {
  for (const node of document.querySelectorAll("time[data-at]")) {
    const text = ago(now() - Number(node.dataset.at));
    if (node.textContent !== text) node.textContent = text;
  }
  if (lastAnswer) drawProcesses(lastAnswer);
}, 1000);

follow();
