// Everything that comes over HTTP: figures, hotspots, cells by zone, details, live events.
import { cellToBoundary, getResolution, polygonToCellsExperimental, POLYGON_TO_CELLS_FLAGS } from "h3-js";
import type { Cell, CellInfo, Columns, Hotspot, HotspotInfo, HotspotProperties, News, Stats, Zone } from "./types";

async function get<T>(path: string): Promise<T> {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) {
    const problem = (await answer.json().catch(() => null)) as { detail?: string } | null;
    throw new Error(problem?.detail ?? `${path}: ${answer.status}`);
  }
  return (await answer.json()) as T;
}

export const stats = (): Promise<Stats> => get("/stats");
export const hotspotInfo = (index: number): Promise<HotspotInfo> => get(`/hotspots/${index}`);
export const cellInfo = (id: string, threshold: number): Promise<CellInfo> =>
  get(`/cells/${id}?threshold_dbm=${threshold}`);

interface Page {
  features: { geometry: { coordinates: [number, number] }; properties: HotspotProperties }[];
  links: { rel: string; href: string }[];
}

export async function hotspots(): Promise<Hotspot[]> {
  const found: Hotspot[] = [];
  let next: string | undefined = "/collections/hotspots/items?limit=10000";
  while (next) {
    const page: Page = await get<Page>(next);
    for (const { geometry, properties } of page.features)
      found.push({ ...properties, longitude: geometry.coordinates[0], latitude: geometry.coordinates[1] });
    next = page.links.find((link) => link.rel === "next")?.href;
  }
  return found;
}

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

function unpack(columns: Columns, coarser: boolean, into: Cell[]): void {
  columns.h3.forEach((id, k) => {
    into.push({
      id,
      ring: cellToBoundary(id, true) as [number, number][],
      value: columns.value_dbm[k] ?? Number.NaN,
      sd: columns.sd_db[k] ?? Number.NaN,
      measured: columns.measured[k] === 1,
      coarser,
      count: columns.count[k] ?? 0,
      hotspots: columns.hotspots[k] ?? 0,
      newest: columns.newest_ms[k] ?? 0,
      server: columns.server[k] ?? -1,
    });
  });
}

const remembered = new Map<string, { tag: string | null; cells: Cell[] }>();

async function zone(id: string, depth: number): Promise<Cell[]> {
  const path = `/dggs/h3/zones/${id}/data?zone-depth=${depth}`;
  const known = remembered.get(path);
  const answer = await fetch(path, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  const tag = answer.headers.get("etag");
  if (known && tag && known.tag === tag) return known.cells;
  const data = (await answer.json()) as Zone;
  const cells: Cell[] = [];
  unpack(data.coarser, true, cells);
  unpack(data, false, cells);
  if (remembered.size > 400) remembered.clear();
  remembered.set(path, { tag, cells });
  return cells;
}

export async function cells(zones: string[], resolution: number): Promise<Cell[]> {
  const parts = await Promise.all(zones.map((id) => zone(id, resolution - getResolution(id))));
  const unique = new Map<string, Cell>();
  for (const part of parts) for (const cell of part) unique.set(cell.id, cell);
  return [...unique.values()];
}

export interface Listener {
  stats(value: Stats): void;
  news(items: News[]): void;
  snapshot(identity: string): void;
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
  source.onopen = () => listener.state(true);
  source.onerror = () => listener.state(false);
  return source;
}
