"""The owner's screen made of a status: HTML for the page, text for a terminal, Prometheus lines.

Whatever can grow old is shown with its age; a fault is shown with what to do about it. Nothing is
loaded from elsewhere: style and script are two files of this page.
"""

from __future__ import annotations

from html import escape
from typing import Any

Status = dict[str, Any]

STYLE = """\
:root { color-scheme: light dark; --good: #0a7d33; --bad: #b3261e; --dim: #666; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --good: #5bd687; --bad: #ff8a80; --dim: #aaa; } }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 46rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 1rem 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 1.4rem 0 .3rem; border-bottom: 1px solid var(--line); }
.state { font-size: 1.6rem; font-weight: 700; color: var(--good); }
.state.bad, .fault b { color: var(--bad); }
.fault { border-left: 4px solid var(--bad); padding: .1rem .8rem; margin: .6rem 0; }
.advice { border-left: 4px solid var(--line); padding: .1rem .8rem; margin: .6rem 0; }
.dim { color: var(--dim); font-size: .88rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .25rem .5rem .25rem 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
meter { width: 100%; min-width: 4rem; height: 1.1rem; }
#lost { display: none; background: var(--bad); color: #fff; padding: .5rem 1rem; }
.mono { font-family: ui-monospace, monospace; overflow-wrap: anywhere; font-size: .85rem; }
"""
SCRIPT = """\
let last = Date.now();
async function look() {
  try {
    const answer = await fetch("/main", {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    document.getElementById("main").innerHTML = await answer.text();
    last = Date.now();
  } catch (error) { /* the banner says it */ }
  const lost = document.getElementById("lost"), age = Math.round((Date.now() - last) / 1000);
  lost.style.display = age > 3 ? "block" : "none";
  lost.textContent = "The hotspot has not answered for " + age + " s: what is below is that old.";
  setTimeout(look, 1000);
}
look();
"""
PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Wavecomb hotspot</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/style.css">
<noscript><meta http-equiv="refresh" content="5"></noscript></head>
<body><div id="lost" role="alert"></div><main id="main">{main}</main>
<script src="/page.js"></script></body></html>
"""
WHY = {
    "paid": "counted and paid",
    "aired": "heard, but by nobody whose word counts",
    "unheard": "nobody reported it",
    "unrevealed": "its secret didn't come in time",
}
# What the ledger made of what we reported of neighbours; in full: `wavecomb chain explain`.
REPORTED = {
    "counted": "counted",
    "late": "came too late: for the map only",
    "no_commit": "the epoch's message never came",
    "commit_mismatch": "isn't what was committed to",
    "unknown_beaconer": "of somebody who isn't registered",
    "self": "of ourselves",
    "no_reveal": "the neighbour's secret didn't come",
    "too_close": "too close: two hotspots on one site",
    "too_far": "farther than any coverage",
    "same_owner": "of the same owner",
    "foreign_region": "of another region",
    "held_witness": "held back until doubts are settled",
    "malformed": "a field holds what no hotspot writes",
    "replayed": "a repetition of another beacon",
    "wrong_tag": "not what the neighbour sent",
    "wrong_frequency": "on another channel than registered",
    "duplicate": "said twice",
    "rssi_too_high": "too loud for the distance",
    "rssi_too_low": "too faint for the distance",
    "not_mutual": "the neighbour doesn't hear us",
    "power_blind": "doesn't follow the neighbour's power",
    "untrusted_witness": "trust hasn't reached us yet",
    "untrusted_beaconer": "trust hasn't reached the neighbour yet",
    "not_drawn": "not drawn by lot this time",
}
CREDIT_UCR = 1_000_000
INSIGHTS_SHOWN = 5
WEAKEST_DBM, STRONGEST_DBM = -95, -35


def page_html(status: Status) -> str:
    """The whole page."""
    return PAGE.replace("{main}", main_html(status))


def main_html(status: Status) -> str:
    """What the page replaces every second."""
    parts = (_head, _fault_rows, _heard_table, _insights, _earnings, _work, _machine)
    return "\n".join(part(status) for part in parts)


def age_text(age_s: int | None) -> str:
    """An age for people: 8 s, 5 min, 3 h, 2 d; a dash for None."""
    if age_s is None:
        return "-"
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if age_s >= 2 * seconds:
            return f"{age_s // seconds} {unit}"
    return f"{age_s} s"


def ago_text(age_s: int | None) -> str:
    """How long ago something was."""
    return "never" if age_s is None else f"{age_text(age_s)} ago"


def credits_text(ucr: int | None) -> str:
    """Credits with three digits; a dash where the ledger has said nothing."""
    return "-" if ucr is None else f"{ucr / CREDIT_UCR:.3f}"


def _epoch(status: Status) -> str:
    """The epoch that the hotspot takes part in; a dash before it does."""
    return "-" if status["epoch"] < 0 else str(status["epoch"])


def _head(status: Status) -> str:
    state, index = status["state"], status["index"]
    name = f"Hotspot {index}" if index >= 0 else "Hotspot, not registered yet"
    kind = "state bad" if status["faults"] or state["name"] == "CLOCK" else "state"
    return (
        f'<h1>{name}</h1><p><span class="{kind}">{escape(state["name"])}</span> '
        f'{escape(state["reason"])} <span class="dim">for {age_text(state["age_s"])}</span></p>'
    )


def _fault_rows(status: Status) -> str:
    rows = [
        f'<div class="fault"><b>{escape(name)}</b> {escape(fault["detail"])}'
        f' <span class="dim">since {age_text(fault["age_s"])}</span>'
        f"<br>To do: {escape(fault['remedy'])}</div>"
        for name, fault in status["faults"].items()
    ]
    return "\n".join(rows) or '<p class="dim">No faults.</p>'


def _heard_table(status: Status) -> str:
    if not status["heard"]:
        last = ago_text(status["last_frame_age_s"])
        return f"<h2>Neighbours heard</h2><p>None yet. Last frame of any hotspot: {last}.</p>"
    rows = "\n".join(_heard_row(row) for row in status["heard"].values())
    return (
        "<h2>Neighbours heard</h2><table><thead><tr><th>hotspot</th>"
        '<th class="number">dBm</th><th>level</th><th class="number">worst to best</th>'
        f'<th class="number">age</th></tr></thead><tbody>{rows}</tbody></table>'
        '<p class="dim">Turn the antenna until dBm is nearest to zero; -60 is better than -80.</p>'
    )


def _heard_row(row: Status) -> str:
    level, spread = row["rssi_dbm"], f"{row['worst_dbm']} to {row['best_dbm']}"
    shown, bar = ("-", "") if level is None else (str(level), _meter(level))
    return (
        f'<tr><td>{row["index"]}</td><td class="number">{shown}</td><td>{bar}</td>'
        f'<td class="number">{"-" if level is None else spread}</td>'
        f'<td class="number">{age_text(row["age_s"])}</td></tr>'
    )


def _meter(level_dbm: int) -> str:
    value = max(WEAKEST_DBM, min(STRONGEST_DBM, level_dbm)) - WEAKEST_DBM
    top = STRONGEST_DBM - WEAKEST_DBM
    low, high = top // 3, 2 * top // 3
    return (
        f'<meter min="0" max="{top}" low="{low}" high="{high}" optimum="{top}" value="{value}">'
        f"{level_dbm} dBm</meter>"
    )


def own_insights(status: Status) -> list[Status]:
    """What the gateway foresees and finds wasted, what concerns this hotspot first."""
    rows: list[Status] = (status.get("gateway") or {}).get("insights") or []
    own = status["index"]
    return sorted(rows, key=lambda row: own not in (row["hotspot"], *(row["link"] or ())))


def _insights(status: Status) -> str:
    gateway = status.get("gateway")
    if gateway is None:
        return ""
    title = "<h2>What will fail, what is wasted</h2>"
    told = f'<p class="dim">The gateway said so {age_text(gateway["age_s"])} ago.</p>'
    if not gateway["answers"]:
        return f"{title}<p>The gateway doesn't answer.</p>"
    if gateway["insights"] is None:
        return f"{title}<p>The gateway answers, but has no insights.</p>"
    rows = "\n".join(_insight_row(row) for row in own_insights(status)[:INSIGHTS_SHOWN])
    return title + (rows or "<p>Nothing: no hotspot looks like failing.</p>") + told


def _insight_row(row: Status) -> str:
    kind = "fault" if row["urgency"] == "urgent" else "advice"
    return (
        f'<div class="{kind}"><b>{escape(insight_place(row))}</b> {escape(row["what"])}'
        f'<br>To do: {escape(row["remedy"])} <span class="dim">{escape(row["gain"])}</span></div>'
    )


def insight_place(row: Status) -> str:
    """Where an insight is: a hotspot, or a link between two."""
    ends = row["link"]
    return f"link {ends[0]} > {ends[1]}" if ends else f"hotspot {row['hotspot']}"


def _earnings(status: Status) -> str:
    ledger = status["ledger"]
    if ledger["age_s"] is None:
        return "<h2>Earnings</h2><p>The ledger has not answered yet.</p>"
    why = ledger["why"] or {}
    rows = [
        ("earned by this hotspot", f"{credits_text(ledger['earned_ucr'])}\u00a0credits"),
        ("on the owner's account", f"{credits_text(ledger['balance_ucr'])}\u00a0credits"),
        ("locked as bond", f"{credits_text(ledger['bond_ucr'])}\u00a0credits"),
        ("trust", "-" if ledger["trust_ppm"] is None else f"{ledger['trust_ppm'] / 1e4:.2f} %"),
    ]
    beacons = why.get("as_beaconer", {}).get("beacons", {})
    rows += [(f"newest beacons: {WHY.get(k, k)}", str(n)) for k, n in beacons.items()]
    reports = why.get("as_witness", {})
    rows += [(f"our reports: {REPORTED.get(k, k)}", str(n)) for k, n in reports.items()]
    rows += [_payment_row(payment) for payment in why.get("payments", [])[:5]]
    return f"<h2>Earnings, and why</h2>{_table(rows)}{_told(ledger['age_s'])}"


def _payment_row(payment: Status) -> tuple[str, str]:
    kind, epoch = payment.get("kind", "paid"), payment.get("epoch", "?")
    amount = credits_text(payment.get("amount_ucr"))
    return f"paid in epoch {epoch} for {kind}", f"{amount}\u00a0credits"


def _told(age_s: int) -> str:
    return f'<p class="dim">The ledger said so {age_text(age_s)} ago.</p>'


def _work(status: Status) -> str:
    counts, queue, due = status["counts"], status["queue"], status["next"]
    rows = [
        ("beacons sent", str(counts.get("beacons", 0))),
        ("next beacon in", "-" if due["beacon_in_s"] is None else age_text(due["beacon_in_s"])),
        ("beacons heard", str(counts.get("heard", 0))),
        ("last frame heard", ago_text(status["last_frame_age_s"])),
        ("reports signed", str(counts.get("messages", 0))),
        ("waiting for the ledger", str(queue["new"])),
        ("queue", f"{queue['bytes'] >> 10} KiB of {queue['limit_bytes'] >> 20} MiB"),
        ("dropped from the queue", str(queue["dropped"])),
    ]
    return f"<h2>Work</h2>{_table(rows)}"


def _machine(status: Status) -> str:
    clock = status["clock"]
    kept = "by a time service" if clock["synchronised"] else "by nobody that the kernel knows"
    up_s = (status["at_ms"] - status["started_ms"]) // 1000
    rows = [
        ("radio", status["radio"]),
        ("frames lost between device and us", str(status["radio_counts"]["dropped"])),
        ("clock kept", kept if clock["believed"] else f"not believed: {clock['doubt']}"),
        ("running for", f"{age_text(up_s)}, machine for {age_text(clock['boot_s'])}"),
        ("epoch", _epoch(status)),
        ("ledger", status["ledger"]["url"]),
    ]
    keys = f'<p class="mono">key {escape(status["key"])}<br>owner {escape(status["owner"])}</p>'
    return f"<h2>Machine</h2>{_table(rows)}{keys}"


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>"


# --- terminal -------------------------------------------------------------------------------------


def terminal_lines(status: Status, age_s: int, width: int = 80) -> list[str]:
    """The same in lines of a terminal, each at most `width` long."""
    state, queue, counts = status["state"], status["queue"], status["counts"]
    index = status["index"]
    name = f"hotspot {index}" if index >= 0 else "not registered yet"
    if "stopped" in status:
        return [f"{state['name']}: could not start, {age_text(age_s)} ago: {status['stopped']}"]
    if "ended" in status:
        name = f"not running: {status['ended']}   {name}"
    lines = [
        f"{name}   epoch {_epoch(status)}   said {age_text(age_s)} ago",
        f"{state['name']} for {age_text(state['age_s'])}: {state['reason']}",
    ]
    for fault, row in status["faults"].items():
        lines.append(f"! {fault} for {age_text(row['age_s'])}: {row['detail']}")
        lines.append(f"  to do: {row['remedy']}")
    for row in own_insights(status)[:INSIGHTS_SHOWN]:
        if row["urgency"] == "urgent":
            lines += [f"? {insight_place(row)}: {row['what']}", f"  to do: {row['remedy']}"]
    ledger = status["ledger"]
    lines += [
        "",
        f"beacons {counts.get('beacons', 0)}   heard {counts.get('heard', 0)}   "
        f"reports {counts.get('messages', 0)}   last frame {ago_text(status['last_frame_age_s'])}",
        f"queue   {queue['new']} waiting, {queue['dropped']} dropped, {queue['bytes'] >> 10} KiB",
        f"earned  {credits_text(ledger.get('earned_ucr'))} credits   account "
        f"{credits_text(ledger.get('balance_ucr'))}   ledger said so "
        f"{ago_text(ledger['age_s'])}",
        "",
        "neighbour    dBm  level                     worst  best    age",
    ]
    lines += [_terminal_row(row) for row in status["heard"].values()]
    return [line[:width] for line in lines]


def _terminal_row(row: Status) -> str:
    level = row["rssi_dbm"]
    if level is None:
        return f"{row['index']:>9}      -  {'no level from this driver':<24}" + (
            f"{age_text(row['age_s']):>15}"
        )
    filled = (max(WEAKEST_DBM, min(STRONGEST_DBM, level)) - WEAKEST_DBM) * 24 // 60
    bar = "#" * filled + "." * (24 - filled)
    return (
        f"{row['index']:>9} {level:>6}  {bar} {row['worst_dbm']:>6} {row['best_dbm']:>5} "
        f"{age_text(row['age_s']):>6}"
    )


# --- Prometheus -----------------------------------------------------------------------------------


def metrics_text(status: Status) -> str:
    """Text format 0.0.4; every name begins with wavecomb_hotspot_."""
    counts, queue, ledger = status["counts"], status["queue"], status["ledger"]
    rows: list[tuple[str, str, int | None]] = [
        ("beacons_sent_total", "counter", counts.get("beacons", 0)),
        ("beacons_heard_total", "counter", counts.get("heard", 0)),
        ("reports_total", "counter", counts.get("messages", 0)),
        ("frames_dropped_total", "counter", status["radio_counts"]["dropped"]),
        ("queue_waiting", "gauge", queue["new"]),
        ("queue_bytes", "gauge", queue["bytes"]),
        ("queue_dropped_total", "counter", queue["dropped"]),
        ("clock_believed", "gauge", int(status["clock"]["believed"])),
        ("last_frame_age_seconds", "gauge", status["last_frame_age_s"]),
        ("ledger_age_seconds", "gauge", ledger["age_s"]),
        ("earned_ucr", "gauge", ledger.get("earned_ucr")),
        ("epoch", "gauge", status["epoch"]),
    ]
    lines = []
    for name, kind, value in rows:
        if value is not None:
            lines += [f"# TYPE wavecomb_hotspot_{name} {kind}", f"wavecomb_hotspot_{name} {value}"]
    lines.append("# TYPE wavecomb_hotspot_state gauge")
    lines.append(f'wavecomb_hotspot_state{{state="{status["state"]["name"]}"}} 1')
    lines.append("# TYPE wavecomb_hotspot_fault gauge")
    lines += [f'wavecomb_hotspot_fault{{fault="{name}"}} 1' for name in status["faults"]]
    lines.append("# TYPE wavecomb_hotspot_neighbour_rssi_dbm gauge")
    for row in status["heard"].values():
        if row["rssi_dbm"] is not None:
            label = f'{{hotspot="{row["index"]}"}}'
            lines.append(f"wavecomb_hotspot_neighbour_rssi_dbm{label} {row['rssi_dbm']}")
    return "\n".join(lines) + "\n"
