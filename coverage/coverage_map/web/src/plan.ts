// Planning on the page: a site that is tried (and dragged), and the best sites of what is in view.
import { cellToBoundary, getHexagonAreaAvg, UNITS } from "h3-js";
import { type Map as MapLibre, Marker } from "maplibre-gl";
import * as api from "./api";
import { h } from "./dom";
import { count, credits, db } from "./format";
import { keyField } from "./key";
import type { Scene } from "./layers";
import type { Placed, WhatIf } from "./types";

const SITES = 5;
const PLACES_MAX = 2_000; // candidates in view: each costs a footprint
const KINDS: Record<string, string> = { gained: "newly served", lost: "no longer served", other_server: "another best server" };

export interface Bench {
  map: MapLibre;
  scene: Scene;
  draw(): void;
  show(...content: HTMLElement[]): void;
  bounds(): [number, number, number, number];
  /** The part of it that no panel lies over. */
  clear(): [number, number, number, number];
  resolution(): number;
}

/** A candidate on the map and what it would change; one job at a time, the newest wins. */
export class Planner {
  private marker: Marker | null = null;
  private stop = new AbortController();
  private path = ""; // of the newest job

  constructor(private readonly bench: Bench) {}

  get isOpen(): boolean {
    return this.marker !== null || this.bench.scene.candidates.length > 0;
  }

  /** Puts a candidate there; it may be dragged, or moved with the arrow keys. */
  try(longitude: number, latitude: number): void {
    this.close();
    const pin = h("button", { type: "button", class: "pin", "aria-label": "Candidate site. Drag it, or move it with the arrow keys." });
    this.marker = new Marker({ element: pin, draggable: true, anchor: "bottom" }).setLngLat([longitude, latitude]).addTo(this.bench.map);
    this.uncover(longitude, latitude);
    this.marker.on("dragend", () => void this.ask());
    let soon = 0;
    pin.addEventListener("click", (event) => event.stopPropagation()); // not a click on the map
    pin.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12] }[event.key];
      if (!step || !this.marker) return;
      event.preventDefault();
      event.stopPropagation();
      const at = this.bench.map.project(this.marker.getLngLat());
      this.marker.setLngLat(this.bench.map.unproject([at.x + step[0]!, at.y + step[1]!]));
      clearTimeout(soon);
      soon = window.setTimeout(() => void this.ask(), 400);
    });
    void this.ask();
    pin.focus({ preventScroll: true });
  }

  /** Moves the map if the panel that opens would lie over the candidate: at the right, or below. */
  private uncover(longitude: number, latitude: number): void {
    const { x, y } = this.bench.map.project([longitude, latitude]);
    const aside = x - (innerWidth - 400);
    const under = y - innerHeight * 0.3;
    if (innerWidth >= 820 && aside > 0) this.bench.map.panBy([aside + 60, 0]);
    if (innerWidth < 820 && under > 0) this.bench.map.panBy([0, under]);
  }

  /** Takes candidates and changes off the map. */
  close(): void {
    const running = this.stop;
    this.stop = new AbortController(); // so that the job that ends here doesn't open the panel again
    running.abort();
    this.marker?.remove();
    this.marker = null;
    Object.assign(this.bench.scene, { changes: [], candidates: [] });
    this.bench.draw();
  }

  /** Runs a process and shows how far it is; null where it was stopped or refused. */
  async job<T>(name: string, inputs: object, title: string): Promise<T | null> {
    this.stop.abort();
    const stop = (this.stop = new AbortController());
    const bar = h("progress", { max: 100, "aria-label": title }) as HTMLProgressElement;
    const cancel = h("button", { type: "button", class: "plain", click: () => stop.abort() }, "Stop");
    this.bench.show(h("header", {}, h("p", { class: "tag hotspot" }, "Plan"), h("h2", { class: "small" }, title)), bar, cancel);
    try {
      return await api.run<T>(name, inputs, (percent) => (bar.value = percent), stop.signal, (path) => (this.path = path));
    } catch (error) {
      if (this.stop !== stop) return null;
      if (stop.signal.aborted || !(error instanceof api.Refused)) {
        this.bench.show(h("p", { class: "note" }, stop.signal.aborted ? "Stopped." : String((error as Error).message)));
        return null;
      }
      const refused = error;
      return new Promise((found) => {
        const give = (): void => found(null);
        stop.signal.addEventListener("abort", give);
        this.bench.show(...refusedPanel(refused, () => {
          stop.signal.removeEventListener("abort", give); // the next attempt ends this one
          found(this.job<T>(name, inputs, title));
        }));
      });
    }
  }

  private async ask(): Promise<void> {
    const at = this.marker?.getLngLat();
    if (!at) return;
    const inputs = { sites: [{ lat: at.lat, lon: at.lng }], threshold_dbm: this.bench.scene.threshold, res: this.bench.resolution() };
    const found = await this.job<WhatIf>("what-if", inputs, "What would a hotspot here change?");
    if (!found || !this.marker) return;
    this.bench.scene.changes = found.cells.h3.map((id, k) => ({
      ring: cellToBoundary(id, true) as [number, number][], kind: found.cells.change[k] ?? "",
    }));
    this.bench.draw();
    this.bench.show(...whatIfPanel(found, () => this.close()));
  }

  /** A page about what the map shows, to be printed or sent. */
  async report(): Promise<void> {
    this.close();
    const inputs = { area: { bbox: this.bench.bounds() }, threshold_dbm: this.bench.scene.threshold, res: this.bench.resolution() };
    if (await this.job<object>("report", inputs, "A report on what the map shows")) this.bench.show(...reportPanel(`${this.path}/results?f=html`));
  }

  /** The best places for a few more sites in what the map shows. */
  async place(): Promise<void> {
    this.close();
    const [west, south, east, north] = this.bench.clear();
    const res = this.bench.resolution();
    const tall = (north - south) * 111.2;
    const wide = (east - west) * 111.2 * Math.cos((((south + north) / 2) * Math.PI) / 180);
    // Candidates stand as close together as the map shows cells, but in a wide view not all of them.
    let grid = res;
    while (grid > 5 && (tall * wide) / getHexagonAreaAvg(grid, UNITS.km2) > PLACES_MAX) grid--;
    const inputs = { count: SITES, area: { bbox: [west, south, east, north] }, threshold_dbm: this.bench.scene.threshold, res, candidate_res: grid };
    const found = await this.job<Placed>("place-sites", inputs, `Where ${SITES} more hotspots serve most`);
    if (!found) return;
    this.bench.scene.candidates = found.sites.map((site, k) => ({ at: [site.lon, site.lat], rank: k + 1 }));
    this.bench.draw();
    this.bench.show(...placedPanel(found, (longitude, latitude) => this.try(longitude, latitude), () => this.close()));
  }
}

/** Why a question was refused, and what helps: a key, or time. */
function refusedPanel(refused: api.Refused, again: () => void): HTMLElement[] {
  const head = (words: string): HTMLElement => h("header", {}, h("p", { class: "tag hotspot" }, "Plan"), h("h2", { class: "small" }, words));
  if (refused.status === 401)
    return [head("This needs a key"), h("p", { class: "note", role: "status" }, refused.message), keyField(true, again)];
  if (refused.status !== 429) return [h("p", { class: "note" }, refused.message), keyField(false, again)];
  const button = h("button", { type: "button", class: "plain", click: again }, "Ask again") as HTMLButtonElement;
  const note = h("p", { class: "note", role: "status" }, `Too many questions came from here. In ${refused.againS} s this one will be answered.`);
  button.disabled = refused.againS > 0;
  setTimeout(() => {
    button.disabled = false;
    note.textContent = "Too many questions came from here. Now this one will be answered.";
  }, 1000 * refused.againS);
  return [head("Not so fast"), note, button, h("p", { class: "quiet" }, "With a key of the map’s operator the limit is ten times wider."), keyField(false, again)];
}

const fact = (label: string, value: string, title = ""): HTMLElement =>
  h("div", { class: "fact", ...(title ? { title } : {}) }, h("dt", {}, label), h("dd", {}, value));

const cells = (value: number): string => `${count(value)} ${value === 1 ? "cell" : "cells"}`;

const more = (value: number, unit: string): string => (unit === "cells" ? cells(value) : `${count(value)} ${unit}`);

/** What the ledger's rules would pay a site; without a link to anybody, nothing. */
const earns = (site: Placed["sites"][number]): string =>
  !site.reward ? "" : site.reward.links ? `${credits(site.reward.per_settlement_ucr)} a settlement` : "hears nobody";

/** How good the choice is, in words: the bound is a proof. */
const proved = (share: number, sites: number): string =>
  share >= 0.995 ? `No choice of ${sites} serves more.` : `No choice of ${sites} can serve more than ${Math.round(100 / Math.max(share, 0.01) - 100)} % above this one.`;

const km2 = (value: number): string => `${value < 10 ? value.toFixed(2) : Math.round(value)} km²`;

function whatIfPanel(found: WhatIf, close: () => void): HTMLElement[] {
  const people = found.gained.people > 0;
  const reward = found.sites[0]?.reward;
  const facts = h("dl", { class: "facts" },
    fact("Newly served", cells(found.gained.cells)),
    fact(people ? "People gained" : "Area gained", people ? count(Math.round(found.gained.people)) : km2(found.gained.area_km2)),
    fact("No longer served", cells(found.lost.cells)),
    fact("Change server", cells(found.other_server.cells)),
    fact("Served in all", km2(found.served_after.area_km2), `before: ${km2(found.served_before.area_km2)}`),
    fact("Median SINR", db(found.interference.after.median_sinr_db), `before: ${db(found.interference.before.median_sinr_db)}`),
  );
  if (reward) facts.append(fact("Would earn", `${credits(reward.per_settlement_ucr)} a settlement`, "by the ledger’s own rules, from predicted links"), fact("Links", String(reward.links)));
  const keys = h("ul", { class: "changes" }, ...Object.entries(KINDS).map(([kind, words]) => h("li", { class: kind }, words)));
  return [
    h("header", {}, h("p", { class: "tag hotspot" }, "Plan"), h("h2", { class: "small" }, found.gained.cells ? `Serves ${cells(found.gained.cells)} more` : "Serves no cell more")),
    h("p", { class: "quiet" }, "Drag the pin to try another place. Predictions, not measurements."),
    facts, keys,
    h("button", { type: "button", class: "plain", click: close }, "Remove the candidate"),
    keyField(false, () => undefined),
  ];
}

const reportPanel = (path: string): HTMLElement[] => [
  h("header", {}, h("p", { class: "tag hotspot" }, "Plan"), h("h2", { class: "small" }, "The report is ready")),
  h("p", {}, h("a", { class: "plain", href: path, target: "_blank", rel: "noopener" }, "Open the report")),
  h("p", { class: "quiet" }, "One page with its map and tables; the browser prints it, or saves it as PDF."),
];

function placedPanel(found: Placed, go: (longitude: number, latitude: number) => void, close: () => void): HTMLElement[] {
  const rows = found.sites.map((site, k) =>
    h("li", {}, h("button", { type: "button", click: () => go(site.lon, site.lat) },
      h("b", {}, `${k + 1}`), h("span", {}, `+${more(Math.round(site.adds), found.unit)}`),
      h("em", {}, earns(site)))),
  );
  return [
    h("header", {}, h("p", { class: "tag hotspot" }, "Plan"), h("h2", { class: "small" }, `${more(Math.round(found.covered), found.unit)} more in reach`)),
    h("p", { class: "quiet" }, `The best of ${count(found.candidates)} places in view. ${proved(found.share_of_bound, found.sites.length)} A click tries one.`),
    rows.length ? h("ol", { class: "ranked" }, ...rows) : h("p", { class: "note" }, "All that can be served here is served."),
    h("button", { type: "button", class: "plain", click: close }, "Clear"),
    keyField(false, () => undefined),
  ];
}
