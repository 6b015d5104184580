// The live panel: figures, verdicts by reason, news, the list of hotspots.
import { byId, h, text } from "./dom";
import { clock, count, credits, REASONS, reason } from "./format";
import type { Hotspot, News, Stats } from "./types";

const NEWS_SHOWN = 5;
const LIST_SHOWN = 60;
let skew = 0;
let last: Stats | null = null;

export function showStats(value: Stats): void {
  last = value;
  skew = value.now_ms - Date.now();
  text("network", value.epoch_end_ms ? `${value.network} · ${value.preset} rules` : "waiting for the ledger");
  text("epoch", count(value.epoch));
  text("records", count(value.ledger.records));
  text("hotspots", count(value.hotspots));
  text("beacons", count(value.beacons_judged));
  text("ai", count(value.ai_requests));
  text("credits", credits(value.credits_paid_ucr));
  text("measured", count(value.cells.measured));
  text("predicted", count(value.cells.predicted));
  const all = Math.max(1, value.cells.measured + value.cells.predicted);
  byId("split-measured").style.width = `${(100 * value.cells.measured) / all}%`;
  byId("split-predicted").style.width = `${(100 * value.cells.predicted) / all}%`;
  text("root", value.ledger.log_root || "–");
  showVerdicts(value.verdicts);
  showState(value.ledger.state, value.ledger.detail);
  tick();
}

export function showState(state: string, detail = ""): void {
  const badge = byId("status");
  badge.dataset["state"] = state;
  badge.title = detail;
  const words: Record<string, string> = { ok: "live", unreachable: "ledger unreachable", fault: "map at fault", waiting: "waiting", offline: "reconnecting" };
  badge.querySelector("b")!.textContent = words[state] ?? state;
}

/** The countdown to the end of the epoch, on the server's clock. */
export function tick(): void {
  if (!last) return;
  if (!last.epoch_end_ms) return;
  const left = last.epoch_end_ms - (Date.now() + skew);
  text("countdown", clock(left));
  const share = Math.min(1, Math.max(0, 1 - left / last.epoch_ms));
  byId("arc").setAttribute("stroke-dasharray", `${(100 * share).toFixed(1)} 100`);
}

const GOOD = new Set(["counted", "not_drawn"]);
const SOFT = new Set(["late", "not_mutual", "untrusted_witness"]);

function showVerdicts(verdicts: Record<string, number>): void {
  const rows = Object.entries(verdicts).sort((a, b) => b[1] - a[1]).slice(0, 7);
  const most = Math.max(1, ...rows.map(([, n]) => n));
  const items = rows.map(([name, n]) => {
    const bar = h("i");
    bar.style.width = `${Math.max(1.5, (100 * n) / most)}%`;
    const kind = GOOD.has(name) ? "good" : SOFT.has(name) ? "soft" : "bad";
    return h("li", { class: kind, title: REASONS[name]?.[1] ?? "" }, h("span", {}, reason(name)), h("b", {}, count(n)), h("em", {}, bar));
  });
  byId("verdicts").replaceChildren(...(items.length ? items : [h("li", { class: "quiet" }, "No epoch has been judged yet.")]));
}

export function showNews(items: News[], open: (hotspot: number) => void): void {
  const list = byId("news");
  list.querySelector(".quiet")?.remove();
  for (const line of items.map((item) => sentence(item, open)).filter((x) => x !== null).slice(-NEWS_SHOWN)) list.prepend(line);
  while (list.children.length > NEWS_SHOWN) list.lastElementChild!.remove();
}

function sentence(item: News, open: (hotspot: number) => void): HTMLElement | null {
  const link = (index: number): HTMLElement => h("button", { type: "button", class: "link", click: () => open(index) }, `#${index}`);
  switch (item.kind) {
    case "payment": {
      const what = item.for === "ai" ? `${item.ai_requests} AI request${item.ai_requests === 1 ? "" : "s"}` : `${count(Math.round(item.relayed_bytes / 1024))} KiB relayed`;
      return h("li", { class: item.for }, link(item.payer), " paid ", link(item.payee), ` ${credits(item.amount_ucr)} for ${what}`);
    }
    case "hotspot":
      return h("li", { class: "join" }, link(item.hotspot), item.moved ? " moved to a new place" : " joined the network");
    case "bounty":
      return h("li", { class: "settle" }, `${credits(item.amount_ucr)} credits offered for each of ${item.cells.length} cell${item.cells.length === 1 ? "" : "s"}`);
    case "settlement":
      return h("li", { class: "settle" }, `Settled: rewards up to epoch ${item.epoch} are paid`);
    case "verdicts":
      return h("li", { class: "verdict" }, `Epoch ${item.epoch} judged: ${count(item.counted)} of ${count(item.receptions)} receptions count`);
    case "report":
      return item.heard.length ? h("li", { class: "report" }, link(item.hotspot), ` reports ${item.heard.length} hotspot${item.heard.length === 1 ? "" : "s"} heard`) : null;
    default:
      return null;
  }
}

export function showList(all: Hotspot[], wanted: string, open: (hotspot: number) => void): void {
  const sought = wanted.trim().replace(/^#/, "").toLowerCase();
  const found = all.filter((x) => !sought || String(x.hotspot).startsWith(sought) || x.key.startsWith(sought));
  found.sort((a, b) => Number(String(b.hotspot) === sought) - Number(String(a.hotspot) === sought));
  const rows = found.slice(0, LIST_SHOWN).map((x) =>
    h("li", {}, h("button", { type: "button", click: () => open(x.hotspot) }, h("b", {}, `#${x.hotspot}`), h("code", {}, x.key.slice(0, 8)), h("span", {}, `heard by ${x.heard_by}`))),
  );
  if (found.length > LIST_SHOWN) rows.push(h("li", { class: "quiet" }, `and ${found.length - LIST_SHOWN} more: narrow the search`));
  byId("list").replaceChildren(...(rows.length ? rows : [h("li", { class: "quiet" }, "No such hotspot.")]));
}
