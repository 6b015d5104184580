// The map at another time, and before beside after: a slider over snapshots, and a line to drag.
import * as api from "./api";
import { byId, h, text } from "./dom";
import { age, count } from "./format";
import type { Snapshot } from "./types";

export interface Times {
  /** Show this snapshot (null: live), or this one left of the line and live right of it. */
  chosen(snapshot: Snapshot | null, beside: boolean): void;
  swiped(x: number): void;
}

/** The bar under the tools: which snapshot is shown, and whether beside the present. */
export class History {
  private known: Snapshot[] = [];
  private share = 0.5;
  beside = false;
  snapshot: Snapshot | null = null;

  constructor(private readonly times: Times) {
    byId("times").addEventListener("input", () => this.slide());
    byId("beside").addEventListener("click", () => {
      this.beside = !this.beside;
      if (this.beside && !this.snapshot) byId<HTMLInputElement>("times").value = "0";
      this.slide();
    });
    const line = byId("swipe");
    line.addEventListener("pointerdown", (event) => {
      line.setPointerCapture(event.pointerId);
      line.onpointermove = (moved) => this.swipe(moved.clientX / innerWidth);
    });
    line.addEventListener("pointerup", () => (line.onpointermove = null));
    line.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (step) this.swipe(this.share + step);
    });
    addEventListener("resize", () => this.beside && this.swipe(this.share));
  }

  async open(): Promise<void> {
    byId("history").hidden = false;
    const found = (await api.snapshots()).snapshots.filter((one) => one.cells > 0);
    this.known = found.reverse();
    const slider = byId<HTMLInputElement>("times");
    slider.max = String(this.known.length);
    slider.value = this.beside ? "0" : slider.max; // "Beside now" may have been pressed meanwhile
    this.slide();
    slider.focus({ preventScroll: true });
  }

  close(): void {
    byId("history").hidden = true;
    this.beside = false;
    this.snapshot = null;
    this.apply();
  }

  /** Chooses a snapshot by its id, as a shared link does. */
  async choose(id: string, beside: boolean): Promise<void> {
    await this.open();
    const at = this.known.findIndex((one) => one.id === id);
    if (at < 0) return;
    byId<HTMLInputElement>("times").value = String(at);
    this.beside = beside;
    this.slide();
  }

  private slide(): void {
    this.snapshot = this.known[Number(byId<HTMLInputElement>("times").value)] ?? null;
    this.apply();
  }

  private apply(): void {
    const shown = this.snapshot;
    text("time", shown ? `Epoch ${shown.epoch} · ${age(shown.time_ms, Date.now())}` : "Now, live");
    text("swipe-before", shown ? `Epoch ${shown.epoch}` : "Before");
    byId("beside").setAttribute("aria-pressed", String(this.beside));
    byId("swipe").hidden = !(this.beside && shown);
    this.times.chosen(shown, this.beside && shown !== null);
    if (this.beside) this.swipe(this.share);
  }

  private swipe(share: number): void {
    this.share = Math.min(0.98, Math.max(0.02, share));
    const line = byId("swipe");
    line.style.left = `${100 * this.share}%`;
    line.setAttribute("aria-valuenow", String(Math.round(100 * this.share)));
    this.times.swiped(this.share * innerWidth);
  }
}

/** What is exported: a view at a resolution and threshold, of a snapshot, and the newest one's id. */
export interface Exported {
  bounds: [number, number, number, number];
  resolution: number;
  threshold: number;
  snapshot: string;
  archive: string | null;
  report(): void;
}

const FEATURES_MAX = 10_000; // in one answer

/** What can be taken away: cells in view in each format, what else the map knows, and a report. */
export function exportPanel(of: Exported): HTMLElement[] {
  const box = `bbox=${of.bounds.map((value) => value.toFixed(5)).join(",")}`;
  const kept = of.snapshot === "live" ? "" : `&snapshot=${of.snapshot}`;
  const query = `${box}&res=${of.resolution}&threshold_dbm=${of.threshold}${kept}`;
  const link = (words: string, href: string, name: string): HTMLElement => h("li", {}, h("a", { href, download: name }, words), h("small", {}, name));
  const cells = (words: string, format: string, name: string): HTMLElement => link(words, `/collections/cells/items?${query}&limit=${FEATURES_MAX}&f=${format}`, name);
  const said = h("p", { class: "quiet", role: "status" }, `Cells of resolution ${of.resolution}.`);
  api.cellsMatched(query).then((found) => {
    const all = `${count(found)} ${found === 1 ? "cell" : "cells"} of resolution ${of.resolution}`;
    said.textContent = found <= FEATURES_MAX ? `${all}.` : `${all}: a file holds the first ${count(FEATURES_MAX)} of them. Zoom in, or take the archive, which holds all.`;
    said.classList.toggle("note", found > FEATURES_MAX);
  }, () => undefined);
  return [
    h("header", {}, h("p", { class: "tag hotspot" }, "Export"), h("h2", { class: "small" }, "Cells in view")),
    said,
    h("ul", { class: "exports" }, cells("GeoJSON", "json", "cells.geojson"), cells("CSV", "csv", "cells.csv"), cells("GeoParquet", "parquet", "cells.parquet"), cells("Arrow", "arrow", "cells.arrow")),
    h("h3", {}, "And more"),
    h("ul", { class: "exports" },
      link("Gaps in view", `/collections/gaps/items?${query}&limit=${FEATURES_MAX}`, "gaps.geojson"),
      link("Hotspots in view", `/collections/hotspots/items?${box}&limit=${FEATURES_MAX}`, "hotspots.geojson"),
      of.archive && link("All cells as PMTiles", `/exports/${of.archive}.pmtiles`, "wavecomb.pmtiles")),
    h("button", { type: "button", class: "plain", click: of.report }, "Printable report"),
    h("p", { class: "quiet" }, "QGIS opens this server as OGC API Features: ", h("code", {}, location.origin + "/")),
  ];
}
