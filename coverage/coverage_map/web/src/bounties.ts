// Bounties on the page: the cells that somebody pays for, and the command for an offer of one's own.
// The page holds no keys: what it makes is a command to run where the key is.
import { cellToBoundary, cellToLatLng, latLngToCell } from "h3-js";
import * as api from "./api";
import { byId, copyable, h } from "./dom";
import { ahead, count, credits } from "./format";
import type { Scene } from "./layers";
import type { Planner } from "./plan";
import type { Gaps, Offer, Stats } from "./types";

const SHOWN = 8;
const CELLS_MAX = 256; // of one record on the ledger
const WEEK_MS = 604_800_000;
const UCR = 1e6;

export interface Counter {
  scene: Scene;
  planner: Planner;
  draw(): void;
  show(...content: HTMLElement[]): void;
  bounds(): [number, number, number, number];
  stats(): Stats | null;
  /** Goes to a cell and opens it; `at` is longitude, latitude. */
  open(id: string, at: [number, number]): void;
}

type Box = [number, number, number, number];

const ring = (id: string): [number, number][] => cellToBoundary(id, true) as [number, number][];

/** Whether a cell can be seen in a box, be it in part. */
const inside = (id: string, [west, south, east, north]: Box): boolean => {
  const corners = ring(id);
  const some = (of: 0 | 1, low: number, high: number): boolean => corners.some((c) => c[of] >= low) && corners.some((c) => c[of] <= high);
  return some(0, west, east) && some(1, south, north);
};

const many = (number: number): string => `${count(number)} ${number === 1 ? "cell" : "cells"}`;

/** The layer with its toggle, and the panel where cells are chosen for an offer. */
export class Bounties {
  choosing = false;
  private on = false;
  private offers: Offer[] = [];
  private readonly picked = new Set<string>();
  private gaps: Gaps["gaps"] | null = null;
  private readonly terms = { amount: 9, most: 3, until: 0, key: "me.key" };

  constructor(private readonly counter: Counter) {}

  async toggle(): Promise<void> {
    this.on = !this.on;
    byId("bounties").setAttribute("aria-pressed", String(this.on));
    if (!this.on) {
      this.picked.clear();
      this.gaps = null;
      this.choose(false);
    }
    await this.refresh();
    if (this.on) this.panel();
    else byId("close").click();
  }

  /** Asks again what is offered; the panel stays as it is. */
  async refresh(): Promise<void> {
    if (this.on) this.offers = await api.offers().catch(() => this.offers);
    this.draw();
  }

  /** What is offered at a place, micro-credits. */
  at(longitude: number, latitude: number): number {
    if (!this.on || !this.offers.length) return 0;
    const id = latLngToCell(latitude, longitude, this.resolution);
    return this.offers.reduce((sum, offer) => sum + (offer.h3 === id ? offer.left_ucr : 0), 0);
  }

  /** Whether a click on the map chooses a cell. */
  choose(on: boolean): void {
    this.choosing = on;
    document.body.classList.toggle("trying", on);
    document.getElementById("choose")?.setAttribute("aria-pressed", String(on));
  }

  /** The panel was closed: nothing is being chosen any more, what was chosen is kept. */
  done(): void {
    this.choose(false);
  }

  pick(longitude: number, latitude: number): void {
    const id = latLngToCell(latitude, longitude, this.resolution);
    if (!this.picked.delete(id) && this.picked.size < CELLS_MAX) this.picked.add(id);
    this.draw();
    this.panel();
  }

  private get resolution(): number {
    return this.counter.stats()?.bounties.resolution || 8;
  }

  private draw(): void {
    const most = Math.max(1, ...this.offers.map((offer) => offer.left_ucr));
    this.counter.scene.offers = this.on ? this.offers.map((offer) => ({ ring: ring(offer.h3), share: offer.left_ucr / most })) : [];
    this.counter.scene.picked = [...this.picked].map((id) => ({ ring: ring(id) }));
    this.counter.draw();
  }

  private panel(): void {
    const box = this.counter.bounds();
    const found = this.offers.filter((offer) => inside(offer.h3, box)).sort((a, b) => b.left_ucr - a.left_ucr);
    const left = found.reduce((sum, offer) => sum + offer.left_ucr, 0);
    this.counter.show(
      h("header", {}, h("p", { class: "tag offer" }, "Bounties"), h("h2", { class: "small" }, found.length ? `${credits(left)} credits offered in view` : "Nothing is offered in view")),
      this.list(found), this.chooser(), ...this.offer());
  }

  private list(found: Offer[]): HTMLElement {
    if (!found.length) return h("p", { class: "quiet" }, `${many(this.offers.length)} elsewhere.`);
    const rows = found.slice(0, SHOWN).map((offer) => {
      const [latitude, longitude] = cellToLatLng(offer.h3);
      const until = offer.until_ms ? ahead(offer.until_ms, Date.now()) : `epoch ${offer.until_epoch}`;
      return h("li", {}, h("button", { type: "button", click: () => this.counter.open(offer.h3, [longitude, latitude]) },
        h("b", {}, credits(offer.left_ucr)), h("span", {}, offer.hotspots_in_cell ? `${offer.hotspots_in_cell} there` : "nobody there"), h("em", {}, until)));
    });
    if (found.length > SHOWN) rows.push(h("li", { class: "quiet" }, `and ${found.length - SHOWN} more`));
    return h("ol", { class: "ranked offers" }, ...rows);
  }

  private chooser(): HTMLElement {
    const rows = (this.gaps ?? []).slice(0, SHOWN).map((gap) => {
      const chosen = gap.h3.every((id) => this.picked.has(id));
      return h("li", {}, h("button", { type: "button", "aria-pressed": String(chosen), click: () => this.swap(gap.h3, !chosen) },
        h("b", {}, chosen ? "✓" : "+"), h("span", {}, many(gap.cells)), h("em", {}, gap.people ? `${count(Math.round(gap.people))} people` : gap.unknown === gap.cells ? "unknown" : "below the threshold")));
    });
    return h("section", {},
      h("h3", {}, "Offer one"),
      h("p", { class: "quiet" }, `Cells of resolution ${this.resolution}, less than a square kilometre each: on the map, or the gaps of what it shows.`),
      h("div", { class: "row" },
        h("button", { id: "choose", type: "button", class: "plain", "aria-pressed": String(this.choosing), click: () => this.choose(!this.choosing) }, "Choose on the map"),
        h("button", { id: "gaps", type: "button", class: "plain", click: () => void this.findGaps() }, "Gaps in view")),
      this.gaps && (rows.length ? h("ul", { class: "ranked gaps" }, ...rows) : h("p", { class: "note" }, "Every cell in view is served.")));
  }

  private swap(cells: string[], on: boolean): void {
    for (const id of cells)
      if (!on) this.picked.delete(id);
      else if (this.picked.size < CELLS_MAX) this.picked.add(id);
    this.draw();
    this.panel();
  }

  private async findGaps(): Promise<void> {
    const inputs = { area: { bbox: this.counter.bounds() }, res: this.resolution, threshold_dbm: this.counter.scene.threshold };
    const found = await this.counter.planner.job<Gaps>("gap-analysis", inputs, "Where service is missing");
    if (!found) return;
    this.gaps = found.gaps;
    this.panel();
  }

  /** What an offer for the chosen cells costs, and the command that makes it. */
  private offer(): HTMLElement[] {
    const cells = [...this.picked].sort();
    if (!cells.length) return [];
    const rules = this.counter.stats();
    const now = rules?.epoch ?? 0;
    const longest = rules?.bounties.epochs_max || 12_960;
    this.terms.until ||= now + Math.min(longest, Math.ceil(WEEK_MS / (rules?.epoch_ms || 600_000)));
    const out = h("div", { id: "offer", "aria-live": "polite" });
    const tell = (): void => out.replaceChildren(...this.command(cells, now, longest));
    const field = (label: string, name: "amount" | "most" | "until", step: number): HTMLElement =>
      h("label", {}, label, h("input", { type: "number", min: 0, step, value: this.terms[name], name, input: (event) => {
        this.terms[name] = Number((event.target as HTMLInputElement).value);
        tell();
      } }));
    tell();
    return [
      h("div", { class: "terms" }, field("Credits for each cell", "amount", 0.1), field("At most, a settlement", "most", 0.1), field("Until epoch", "until", 1),
        h("label", {}, "Key file", h("input", { type: "text", name: "file", value: this.terms.key, spellcheck: "false", input: (event) => {
          this.terms.key = (event.target as HTMLInputElement).value.trim() || "me.key";
          tell();
        } }))),
      out,
      h("div", { class: "row" }, h("button", { type: "button", class: "plain", click: () => this.swap(cells, false) }, "Choose none")),
    ];
  }

  private command(cells: string[], now: number, longest: number): HTMLElement[] {
    const { amount, most, until, key } = this.terms;
    const [amountUcr, mostUcr] = [Math.round(amount * UCR), Math.round(most * UCR)];
    const least = this.counter.stats()?.bounties.min_ucr ?? 0;
    const wrong =
      !(amountUcr >= least) ? `The ledger takes ${credits(least)} credits for each cell or more.`
      : !(mostUcr > 0 && mostUcr <= amountUcr) ? "What a settlement takes must be above zero, and no more than the whole."
      : !(until > now && until <= now + longest) ? `The last epoch must be from ${now + 1} to ${now + longest}.`
      : "";
    if (wrong) return [h("p", { class: "note", role: "alert" }, wrong)];
    const epochMs = this.counter.stats()?.epoch_ms ?? 0;
    const words = [...cells.map((id) => `--cell ${id}`), `--key ${quoted(key)}`, `--amount-ucr ${amountUcr}`, `--per-settlement-ucr ${mostUcr}`, `--until-epoch ${until}`];
    return [
      h("p", {}, h("b", {}, many(cells.length)), `: locks ${credits(amountUcr * cells.length)} credits at once. What nobody earned returns ${ahead(Date.now() + (until + 1 - now) * epochMs, Date.now())}.`),
      copyable(`wavecomb map bounty ${words.join(" ")}`),
      h("p", { class: "quiet" }, "Run it where the key is, with --ledger URL for a ledger on another machine, and --dry-run first if you like."),
    ];
  }
}

/** A word for a POSIX shell. */
const quoted = (word: string): string => (/^[\w./~-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
