// The panel of one place: a cell with its quantiles and proofs, or a hotspot with who hears it.
import { h } from "./dom";
import { age, ahead, bare, count, credits, db, dbm, distance, percent, REASONS, reason } from "./format";
import { copyable } from "./dom";
import type { CellInfo, Evidence, HotspotInfo, LinkInfo, Offer } from "./types";

type Open = (hotspot: number) => void;

const fact = (label: string, value: string, title = ""): HTMLElement =>
  h("div", { class: "fact", ...(title ? { title } : {}) }, h("dt", {}, label), h("dd", {}, value));

const hotspotLink = (index: number, open: Open): HTMLElement =>
  h("button", { type: "button", class: "link", click: () => open(index) }, `#${index}`);

export function cellPanel(cell: CellInfo, now: number, threshold: number, centre: [number, number], open: Open): HTMLElement[] {
  const state = { measured: "Measured", predicted: "Predicted", unknown: "Unknown" }[cell.state];
  const served = cell.value_dbm != null && cell.value_dbm >= threshold;
  const head = h("header", {},
    h("p", { class: `tag ${cell.state}` }, state),
    h("h2", {}, cell.state === "unknown" ? "Nobody knows yet" : dbm(cell.value_dbm)),
    h("p", { class: "quiet" }, cell.state === "unknown" ? "No measurement, and no hotspot near enough to predict from." : `± ${db(cell.uncertainty_db)} · ${served ? "served" : "below the threshold"} · cell ${cell.h3}`),
  );
  const parts: HTMLElement[] = [head];
  if (cell.bounties.length) parts.push(bounty(cell.bounties, now, centre));
  if (cell.measured) parts.push(quantiles(cell.measured.p10_dbm, cell.measured.p50_dbm, cell.measured.p90_dbm, threshold));
  const facts = h("dl", { class: "facts" });
  if (cell.measured) {
    facts.append(
      fact("Samples", count(cell.measured.count)),
      fact("Hotspots heard", String(cell.measured.hotspots_heard)),
      fact("Witnesses here", String(cell.measured.witnesses)),
      fact("Newest", age(cell.measured.newest_ms, now)),
    );
    if (cell.measured.late) facts.append(fact("Came late", count(cell.measured.late), "unpaid, but a measurement"));
  }
  if (cell.predicted) facts.append(fact("Model says", `${bare(cell.predicted.mean_dbm)} ± ${cell.predicted.sd_db.toFixed(0)} dB`));
  if (cell.state !== "unknown") {
    facts.append(
      fact("Chance of service", percent(cell.service_probability), "that the best server alone reaches the threshold"),
      fact("Right within 6 dB", percent(cell.confidence)),
      fact("Overlap", `${cell.overlap} hotspot${cell.overlap === 1 ? "" : "s"}`),
    );
  }
  if (cell.pending_receptions) facts.append(fact("Awaiting verdict", count(cell.pending_receptions)));
  parts.push(facts);
  if (cell.best_server != null) parts.push(h("p", {}, "Best server ", hotspotLink(cell.best_server, open)));
  if (cell.links.length) parts.push(linkTable("Heard here", cell.links, "beaconer", open));
  if (cell.evidence.length) parts.push(evidence(cell.evidence, open));
  else if (cell.state === "predicted") parts.push(h("p", { class: "note" }, "No one has measured this cell. The value is physics corrected by the hotspot’s measured links; it earns nothing and proves nothing."));
  parts.push(h("p", { class: "quiet" }, h("a", { href: `/cells/${cell.h3}?evidence=50` }, "All of it as JSON")));
  return parts;
}

/** What is offered for a cell's coverage, and what to do to earn it. */
function bounty(offers: Offer[], now: number, [latitude, longitude]: [number, number]): HTMLElement {
  const sum = (of: (offer: Offer) => number): number => offers.reduce((all, offer) => all + of(offer), 0);
  const standing = Math.max(...offers.map((offer) => offer.hotspots_in_cell));
  const paid = sum((offer) => offer.paid_ucr ?? 0);
  const until = offers[0]!.until_ms;
  const facts = h("dl", { class: "facts" },
    fact("Left", `${credits(sum((offer) => offer.left_ucr))} credits`),
    fact("A settlement pays", `up to ${credits(sum((offer) => Math.min(offer.left_ucr, offer.per_settlement_ucr)))}`, "5 % of it is the network’s fee"),
    fact("Paid so far", paid ? credits(paid) : "nothing"),
    fact("Until", until ? ahead(until, now) : `epoch ${offers[0]!.until_epoch}`, `epoch ${offers.map((offer) => offer.until_epoch).join(", ")}`),
    fact("Hotspots in it", String(standing), "as far as owners published where they stand"),
    fact(offers.length > 1 ? `Offers of ${offers.length}` : "Offered by", offers.map((offer) => offer.sponsor.slice(0, 8)).join(", ")),
  );
  const first = standing
    ? "Be heard by a trusted hotspot that stands in this cell: put yours in it or near it."
    : "Nobody stands in this cell yet, so nobody can be heard in it: a hotspot here is paid for what it measures, and whoever it hears earns the bounty.";
  return h("section", { class: "bounty" },
    h("h3", {}, `A bounty for covering cell ${offers[0]!.h3}`), facts,
    h("p", {}, first, " Shares go by signal quality and trust; the sponsor’s own hotspots get none."),
    copyable(`wavecomb hotspot init --dir ~/hotspot --lat ${latitude.toFixed(5)} --lon ${longitude.toFixed(5)}`));
}

function quantiles(p10: number, p50: number, p90: number, threshold: number): HTMLElement {
  const at = (value: number): string => `${Math.min(100, Math.max(0, ((value + 110) / 60) * 100))}%`;
  const box = h("i", { class: "box" });
  box.style.left = at(p10);
  box.style.width = `calc(${at(p90)} - ${at(p10)} + 2px)`;
  const middle = h("i", { class: "middle" });
  middle.style.left = at(p50);
  const line = h("i", { class: "line", title: "threshold" });
  line.style.left = at(threshold);
  return h("figure", { class: "quantiles" },
    h("div", { class: "axis", "aria-hidden": "true" }, box, middle, line),
    h("figcaption", {}, `10 % ${bare(p10)} · median ${bare(p50)} · 90 % ${bare(p90)} dBm`));
}

function linkTable(title: string, links: LinkInfo[], other: "beaconer" | "witness", open: Open): HTMLElement {
  const rows = [...links].sort((a, b) => (b.median_dbm ?? -200) - (a.median_dbm ?? -200)).slice(0, 12).map((link) =>
    h("tr", {}, h("td", {}, hotspotLink(link[other], open)), h("td", {}, dbm(link.median_dbm)), h("td", {}, distance(link.distance_m)), h("td", {}, count(link.count))));
  return h("section", {}, h("h3", {}, `${title} (${links.length})`),
    h("table", {}, h("thead", {}, h("tr", {}, ...["Hotspot", "Median", "Away", "Samples"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...rows)));
}

function evidence(items: Evidence[], open: Open): HTMLElement {
  const rows = items.map((item) =>
    h("li", {},
      h("div", {}, h("b", { class: "verdict", title: REASONS[item.reason]?.[1] ?? "" }, reason(item.reason)), " ", hotspotLink(item.witness, open), " heard ", hotspotLink(item.beaconer, open), ` in epoch ${item.epoch}`),
      h("div", { class: "quiet" }, h("code", {}, item.record_id.slice(0, 16)), item.proof ? ` leaf ${item.proof.leaf_index} of ${item.proof.tree_size}, ${item.proof.path.length} hashes to the root` : " proof not at hand")));
  return h("section", {}, h("h3", {}, "Signed evidence"), h("ul", { class: "evidence" }, ...rows));
}

export function hotspotPanel(info: HotspotInfo, open: Open): HTMLElement[] {
  const earned = Number(info.earnings?.["earned_ucr"] ?? 0);
  return [
    h("header", {},
      h("p", { class: "tag hotspot" }, "Hotspot"),
      h("h2", {}, `#${info.hotspot}`),
      h("p", { class: "quiet" }, h("code", {}, info.key.slice(0, 24)))),
    h("dl", { class: "facts" },
      fact("Earned", `${credits(earned)} credits`),
      fact("Heard by", String(info.heard.length)),
      fact("Hears", String(info.hears.length)),
      fact("Radiates", `${info.eirp_dbm} dBm EIRP`),
      fact("Channel", `${info.frequency_mhz} MHz`),
      fact("Height", `${info.height_m} m`),
      fact("Against physics", db(info.offset_db), "how much stronger than the model its links are on the whole")),
    ...(info.why.length ? [h("section", {}, h("h3", {}, "What it earned, and why"), h("ul", { class: "why" }, ...info.why.map((line) => h("li", {}, line))))] : []),
    linkTable("Heard by", info.heard, "witness", open),
    linkTable("Hears", info.hears, "beaconer", open),
  ];
}
