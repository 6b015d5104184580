// Everything that comes over HTTP: figures, hotspots, cells by zone, details, live events.
import { cellToParent, getResolution, polygonToCellsExperimental, POLYGON_TO_CELLS_FLAGS } from "h3-js";
import { type Clock, tile } from "./tiles";
import { withKey } from "./key";
import type { Cell, CellInfo, Hotspot, HotspotInfo, HotspotProperties, News, Offer, Snapshot, Stats } from "./types";

/** A question that the server refused: why, with which status, and after how many seconds to ask again. */
export class Refused extends Error {
  constructor(why: string, readonly status: number, readonly againS: number) {
    super(why);
  }
}

async function refusal(answer: Response, what: string): Promise<Refused> {
  const problem = (await answer.json().catch(() => null)) as { detail?: string } | null;
  return new Refused(problem?.detail ?? `${what}: ${answer.status}`, answer.status, Number(answer.headers.get("retry-after")) || 0);
}

async function get<T>(path: string): Promise<T> {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw await refusal(answer, path);
  return (await answer.json()) as T;
}

export const stats = (): Promise<Stats> => get("/stats");
export const hotspotInfo = (index: number): Promise<HotspotInfo> => get(`/hotspots/${index}`);
export const cellInfo = (id: string, threshold: number): Promise<CellInfo> =>
  get(`/cells/${id}?threshold_dbm=${threshold}`);

interface Page<T> {
  features: T[];
  links: { rel: string; href: string }[];
}

/** Every feature of a collection, page after page. */
async function features<T>(collection: string): Promise<T[]> {
  const found: T[] = [];
  let next: string | undefined = `/collections/${collection}/items?limit=10000`;
  while (next) {
    const page: Page<T> = await get<Page<T>>(next);
    found.push(...page.features);
    next = page.links.find((link) => link.rel === "next")?.href;
  }
  return found;
}

export async function hotspots(): Promise<Hotspot[]> {
  const found = await features<{ geometry: { coordinates: [number, number] }; properties: HotspotProperties }>("hotspots");
  return found.map(({ geometry, properties }) => ({ ...properties, longitude: geometry.coordinates[0], latitude: geometry.coordinates[1] }));
}

export const offers = async (): Promise<Offer[]> => (await features<{ properties: Offer }>("bounties")).map((one) => one.properties);

const DEPTH = 4;
const ZONES_MAX = 48;

/** Finest resolution that a zoom shows well, as long as the view takes few enough zones. */
export function plan(bounds: [number, number, number, number], zoom: number): { resolution: number; zones: string[] } {
  let resolution = zoom >= 11.6 ? 10 : zoom >= 10.2 ? 9 : zoom >= 8.8 ? 8 : zoom >= 7.4 ? 7 : zoom >= 6 ? 6 : 5;
  for (;;) {
    const depth = Math.min(DEPTH, resolution);
    const zones = zonesOf(bounds, resolution - depth);
    if (zones.length <= ZONES_MAX || resolution <= 5) return { resolution, zones: zones.slice(0, 400) };
    resolution--;
  }
}

function zonesOf([west, south, east, north]: [number, number, number, number], resolution: number): string[] {
  if (east - west >= 170) {
    const middle = (west + east) / 2;
    const left = zonesOf([Math.max(west, -180), south, Math.min(middle, west + 160), north], resolution);
    return [...new Set([...left, ...zonesOf([Math.max(middle, east - 160), south, Math.min(east, 180), north], resolution)])];
  }
  const ring: [number, number][] = [[south, west], [south, east], [north, east], [north, west]];
  return polygonToCellsExperimental([ring], resolution, POLYGON_TO_CELLS_FLAGS.containmentOverlapping);
}

/** Cells of a resolution in zones, and the measured ones of owners who publish no finer place. */
export async function cells(zones: string[], resolution: number, snapshot: string, clock: Clock): Promise<Cell[]> {
  const [fine, ...coarser] = await Promise.all(
    [0, 1, 2].map(async (less) => {
      const parts = zones.filter((id) => getResolution(id) <= resolution - less).map((id) => tile(snapshot, id, resolution - less, clock));
      return (await Promise.all(parts)).flat();
    }),
  );
  const unique = new Map<string, Cell>();
  const covered = new Set<string>();
  for (const cell of fine!) {
    unique.set(cell.id, cell);
    if (cell.measured) for (const less of [1, 2]) covered.add(cellToParent(cell.id, resolution - less));
  }
  for (const cell of coarser.flat())
    if (cell.measured && !covered.has(cell.id)) {
      unique.set(cell.id, { ...cell, coarser: true });
      if (getResolution(cell.id) === resolution - 1) covered.add(cellToParent(cell.id, resolution - 2));
    }
  return [...unique.values()];
}

/** How many cells a question for them would find. */
export const cellsMatched = async (query: string): Promise<number> =>
  (await get<{ numberMatched: number }>(`/collections/cells/items?${query}&limit=1`)).numberMatched;

export const snapshots = (): Promise<{ current: string; snapshots: Snapshot[] }> => get("/snapshots");

/** Runs a planning process as a job and waits for its result; `tell` hears how far it is, `named` its path. */
export async function run<T>(process: string, inputs: object, tell: (percent: number) => void, signal: AbortSignal, named: (path: string) => void): Promise<T> {
  const answer = await fetch(`/processes/${process}/execution`, {
    method: "POST", signal, headers: withKey({ "content-type": "application/json" }), body: JSON.stringify({ inputs }),
  });
  if (!answer.ok) throw await refusal(answer, process);
  const job = (await answer.json()) as { jobID: string };
  named(`/jobs/${job.jobID}`);
  try {
    for (let wait = 150; ; wait = Math.min(1000, wait * 1.3)) {
      await new Promise((go) => setTimeout(go, wait));
      const state = await get<{ status: string; progress: number; message: string }>(`/jobs/${job.jobID}`);
      if (signal.aborted) throw new DOMException("stopped", "AbortError");
      if (state.status === "successful") return (await get<{ result: T }>(`/jobs/${job.jobID}/results`)).result;
      if (state.status !== "running" && state.status !== "accepted") throw new Error(state.message || state.status);
      tell(state.progress);
    }
  } catch (error) {
    if (signal.aborted) void fetch(`/jobs/${job.jobID}`, { method: "DELETE", headers: withKey({}) });
    throw error;
  }
}

export interface Listener {
  stats(value: Stats): void;
  news(items: News[]): void;
  snapshot(identity: string): void;
  bounties(): void;
  state(open: boolean): void;
}

/** Listens to /events; the browser reconnects by itself. */
export function listen(listener: Listener): EventSource {
  const source = new EventSource("/events");
  const on = <T>(name: string, use: (value: T) => void): void =>
    source.addEventListener(name, (event) => use(JSON.parse((event as MessageEvent<string>).data) as T));
  on<Stats>("stats", listener.stats);
  on<News[]>("news", listener.news);
  on<{ snapshot: string }>("snapshot", (value) => listener.snapshot(value.snapshot));
  on<unknown>("bounties", () => listener.bounties());
  source.onopen = () => listener.state(true);
  source.onerror = () => listener.state(false);
  return source;
}
