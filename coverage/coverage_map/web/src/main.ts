// Starts the page: map, layers, live events, panels. State that tests read is window.__wavecomb.
import { MapLibreOverlay } from "@deck.gl/maplibre";
import { cellToBoundary, cellToLatLng, latLngToCell } from "h3-js";
import { Map as MapLibre, type MapMouseEvent, setWorkerUrl } from "maplibre-gl";
import * as api from "./api";
import { controls, drawGraticule, forgetLand, loadLand, style } from "./basemap";
import { paintRamp } from "./colour";
import { Bounties } from "./bounties";
import { byId, h, text } from "./dom";
import { cellPanel, hotspotPanel } from "./detail";
import { age, credits, dbm } from "./format";
import { exportPanel, History } from "./history";
import { layers, type Scene } from "./layers";
import { LiveCanvas } from "./live";
import { showList, showNews, showState, showStats, tick } from "./panel";
import { Planner } from "./plan";
import type { Clock } from "./tiles";
import type { Cell, Hotspot, News, Snapshot, Stats } from "./types";

declare const WORKER_URL: string;
setWorkerUrl(new URL(WORKER_URL, location.href).href);

const wide = matchMedia("(min-width: 820px)");
const darkness = matchMedia("(prefers-color-scheme: dark)");
const report = { ready: false, cells: 0, measured: 0, predicted: 0, hotspots: 0, resolution: 0, snapshot: "", arcs: 0, threshold: -82, changes: 0, candidates: 0, before: 0, offers: 0, picked: 0 };
Object.assign(window, { __wavecomb: report });

const scene: Scene = {
  predicted: [], measured: [], hotspots: [], selectedRing: null, selectedHotspot: null, links: [], changes: [], candidates: [], offers: [], picked: [], before: null,
  threshold: Number(new URLSearchParams(location.search).get("threshold") ?? -82) || -82, dark: darkness.matches,
};
const byCell = new Map<string, Cell>();
const byIndex = new Map<number, Hotspot>();
let resolution = 10;
let framed = false;

const placed = location.hash.includes("at=");
const map = new MapLibre({
  container: "map", style: style(scene.dark), center: [0, 25], zoom: 1.6, attributionControl: false,
  maxZoom: 16.5, maxPitch: 60, dragRotate: wide.matches, keyboard: true, hash: "at",
});
controls(map, wide.matches);
const overlay = new MapLibreOverlay({ interleaved: false, layers: [], useDevicePixels: Math.min(2, devicePixelRatio) });
map.addControl(overlay as never);
const live = new LiveCanvas(map, byId<HTMLCanvasElement>("live"), scene.dark);

const draw = (): void => {
  const { changes, candidates, offers, picked } = scene;
  Object.assign(report, { changes: changes.length, candidates: candidates.length, offers: offers.length, picked: picked.length });
  overlay.setProps({ layers: layers(scene) as never });
};

function bounds(): [number, number, number, number] {
  const box = map.getBounds();
  return [box.getWest(), Math.max(-85, box.getSouth()), box.getEast(), Math.min(85, box.getNorth())];
}

let latest: Stats | null = null;
let shown: Snapshot | null = null;
let compared = false;
let swipeX = innerWidth / 2;

/** What turns ages in epochs into times, in a snapshot or now. */
function clockOf(snapshot: Snapshot | null): Clock {
  const epochMs = latest?.epoch_ms ?? 600_000;
  return { epoch: snapshot?.epoch ?? latest?.epoch ?? 0, epochMs, now: snapshot?.time_ms ?? Date.now() };
}

const swipeLongitude = (): number => map.unproject([swipeX, innerHeight / 2]).lng;

let loading = false;
let again = false;

/** Fetches the cells in view; a call while one is under way makes it run once more after. */
async function refresh(): Promise<void> {
  if (loading) {
    again = true;
    return;
  }
  loading = true;
  try {
    if (!report.snapshot || !framed) return; // nothing to ask for yet
    const plan = api.plan(bounds(), map.getZoom());
    const alone = shown && !compared ? shown.id : "live";
    const cells = await api.cells(plan.zones, plan.resolution, alone, clockOf(alone === "live" ? null : shown));
    const old = shown && compared ? await api.cells(plan.zones, plan.resolution, shown.id, clockOf(shown)) : null;
    scene.before = old && { measured: old.filter((cell) => cell.measured), predicted: old.filter((cell) => !cell.measured), until: swipeLongitude() };
    report.before = old?.length ?? 0;
    resolution = plan.resolution;
    byCell.clear();
    for (const cell of cells) byCell.set(cell.id, cell);
    scene.measured = cells.filter((cell) => cell.measured);
    // What was measured at a coarser precision covers its predicted parts without hiding them.
    scene.predicted = cells.filter((cell) => !cell.measured);
    Object.assign(report, { cells: cells.length, measured: scene.measured.length, predicted: scene.predicted.length, resolution, ready: true });
    draw();
  } catch (error) {
    showState("offline", String(error));
  } finally {
    loading = false;
    if (again) {
      again = false;
      void refresh();
    }
  }
}

let hotspotsTimer = 0;
async function refreshHotspots(first: boolean): Promise<void> {
  const found = await api.hotspots().catch(() => null);
  if (!found) return;
  scene.hotspots = found;
  byIndex.clear();
  for (const hotspot of found) byIndex.set(hotspot.hotspot, hotspot);
  report.hotspots = found.length;
  showList(found, byId<HTMLInputElement>("find").value, openHotspot);
  draw();
  if (first && !placed) frameNetwork(false);
  framed ||= found.length > 0;
}

/** Frames where most hotspots stand: the middle 96 %, so that one far outlier can't shrink the rest. */
function frameNetwork(animate: boolean): void {
  if (!scene.hotspots.length) return;
  const cut = (values: number[]): [number, number] => {
    const sorted = values.sort((a, b) => a - b);
    const off = Math.floor(sorted.length * 0.02);
    return [sorted[off]!, sorted[sorted.length - 1 - off]!];
  };
  const [west, east] = cut(scene.hotspots.map((x) => x.longitude));
  const [south, north] = cut(scene.hotspots.map((x) => x.latitude));
  const padding = wide.matches ? { left: 400, right: 90, top: 90, bottom: 190 } : { left: 24, right: 24, top: 96, bottom: 320 };
  map.fitBounds([[west, south], [east, north]], { padding, maxZoom: 14.5, animate });
}

function place(index: number): [number, number] | null {
  const hotspot = byIndex.get(index);
  return hotspot ? [hotspot.longitude, hotspot.latitude] : null;
}

function animate(items: News[]): void {
  items.forEach((item, k) => {
    if (item.kind === "report") {
      const at = place(item.hotspot);
      if (!at) return;
      live.pulse(at, (k % 12) * 60);
      for (const heard of item.heard.slice(0, 6)) {
        const from = place(heard);
        if (from) live.flash(from, at, (k % 12) * 60);
      }
    }
    if (item.kind === "payment") {
      const [from, to] = [place(item.payer), place(item.payee)];
      if (from && to) live.arc(from, to, item.for === "ai");
      report.arcs = live.arcsShown;
    }
  });
  if (items.some((item) => item.kind === "hotspot") && !hotspotsTimer)
    hotspotsTimer = window.setTimeout(() => {
      hotspotsTimer = 0;
      void refreshHotspots(scene.hotspots.length === 0);
    }, 600);
}

/* ---- tools: try a site, best sites, another time, share, export ---- */

/** West, south, east, north of what is seen between the panels, of which the right one is about to open. */
function clear(): [number, number, number, number] {
  if (innerWidth < 820) return bounds();
  const [low, high] = [map.unproject([360, innerHeight]), map.unproject([Math.max(innerWidth - 376, 400), 0])];
  const [west, south, east, north] = bounds();
  return [Math.max(west, low.lng), Math.max(south, low.lat), Math.min(east, high.lng), Math.min(north, high.lat)];
}

const planner = new Planner({ map, scene, draw: () => draw(), show: (...content) => showDetail(...content), bounds, clear, resolution: () => Math.min(10, Math.max(7, resolution)) });
const bounties = new Bounties({
  scene, planner, draw: () => draw(), show: (...content) => showDetail(...content), bounds, stats: () => latest,
  open: (id, at) => {
    map.easeTo({ center: at, duration: 500 });
    openCell(id);
  },
});
const history = new History({
  chosen: (snapshot, beside) => {
    [shown, compared] = [snapshot, beside];
    void refresh();
  },
  swiped: (x) => {
    swipeX = x;
    if (scene.before) scene.before.until = swipeLongitude();
    draw();
  },
});
map.on("move", () => {
  if (!scene.before) return;
  scene.before.until = swipeLongitude();
  draw();
});
let trying = false;

function setTrying(on: boolean): void {
  trying = on;
  byId("try").setAttribute("aria-pressed", String(on));
  document.body.classList.toggle("trying", on);
  text("share-said", on ? "Choose the candidate’s place on the map" : "");
}

/** A link that shows the same: place, threshold, time, and what is selected. */
function sharedLink(): string {
  const query = new URLSearchParams({ threshold: String(scene.threshold) });
  if (shown) query.set(compared ? "beside" : "snapshot", shown.id);
  if (scene.selectedHotspot !== null) query.set("hotspot", String(scene.selectedHotspot));
  else if (selectedCell) query.set("cell", selectedCell);
  return `${location.origin}/?${query}${location.hash}`;
}

byId("try").addEventListener("click", () => setTrying(!trying));
byId("bounties").addEventListener("click", () => void bounties.toggle());
byId("best").addEventListener("click", () => void planner.place());
byId("when").addEventListener("click", () => {
  const open = byId("history").hidden;
  byId("when").setAttribute("aria-expanded", String(open));
  if (open) void history.open();
  else history.close();
});
byId("share").addEventListener("click", () => {
  const link = sharedLink();
  window.history.replaceState(null, "", link);
  const told = (words: string): void => {
    text("share-said", words);
    setTimeout(() => text("share-said", ""), 4000);
  };
  navigator.clipboard?.writeText(link).then(() => told("Link copied"), () => told("The link stands in the address bar"));
  if (!navigator.clipboard) told("The link stands in the address bar");
});
byId("export").addEventListener("click", () => showDetail(...exportPanel({
  bounds: bounds(), resolution, threshold: scene.threshold, snapshot: shown?.id ?? "live", archive: shown?.id ?? latest?.snapshot ?? null,
  report: () => void planner.report(),
})));

/* ---- selection ---- */

let selectedCell: string | null = null;

function showDetail(...content: HTMLElement[]): void {
  byId("detail-body").replaceChildren(...content);
  const panel = byId("detail");
  const opened = panel.hidden;
  panel.hidden = false;
  document.body.classList.add("detailed");
  if (opened) panel.focus({ preventScroll: true });
}

function closeDetail(): void {
  byId("detail").hidden = true;
  planner.close();
  bounties.done();
  selectedCell = null;
  document.body.classList.remove("detailed");
  Object.assign(scene, { selectedRing: null, selectedHotspot: null, links: [] });
  draw();
  map.getCanvas().focus({ preventScroll: true });
}

function openHotspot(index: number): void {
  const at = place(index);
  scene.selectedHotspot = index;
  scene.selectedRing = null;
  if (at && !map.getBounds().contains(at)) map.easeTo({ center: at, duration: 500 });
  api.hotspotInfo(index).then(
    (info) => {
      const links = info.heard.map((link) => ({ from: at!, to: place(link.witness)!, width: Math.max(0.8, Math.min(4, ((link.median_dbm ?? -100) + 105) / 12)) }));
      scene.links = at ? links.filter((link) => link.to) : [];
      draw();
      showDetail(...hotspotPanel(info, openHotspot));
    },
    (error: Error) => showDetail(h("p", { class: "note" }, error.message)),
  );
  draw();
}

function openCell(id: string): void {
  selectedCell = id;
  scene.selectedRing = cellToBoundary(id, true) as [number, number][];
  scene.selectedHotspot = null;
  scene.links = [];
  draw();
  api.cellInfo(id, scene.threshold).then(
    (info) => showDetail(...cellPanel(info, Date.now(), scene.threshold, cellToLatLng(id), openHotspot)),
    (error: Error) => showDetail(h("p", { class: "note" }, error.message)),
  );
}

/** The known cell at a place: as shown, or the coarser measured one around it. */
function cellAt(longitude: number, latitude: number): { id: string; cell: Cell | undefined } {
  const id = latLngToCell(latitude, longitude, resolution);
  let found = byCell.get(id);
  for (let coarser = resolution - 1; (!found || !found.measured) && coarser >= 5; coarser--) {
    const above = byCell.get(latLngToCell(latitude, longitude, coarser));
    if (above) found = above;
  }
  return { id: found?.id ?? id, cell: found };
}

function nearestHotspot(x: number, y: number): Hotspot | null {
  let best: Hotspot | null = null;
  let least = 12;
  for (const hotspot of scene.hotspots) {
    const point = map.project([hotspot.longitude, hotspot.latitude]);
    const away = Math.hypot(point.x - x, point.y - y);
    if (away < least) [best, least] = [hotspot, away];
  }
  return best;
}

map.on("click", (event: MapMouseEvent) => {
  if (bounties.choosing) {
    bounties.pick(event.lngLat.lng, event.lngLat.lat);
    return;
  }
  if (trying) {
    setTrying(false);
    planner.try(event.lngLat.lng, event.lngLat.lat);
    return;
  }
  const hotspot = nearestHotspot(event.point.x, event.point.y);
  if (hotspot) openHotspot(hotspot.hotspot);
  else openCell(cellAt(event.lngLat.lng, event.lngLat.lat).id);
});

const tip = byId("tip");
map.on("mousemove", (event: MapMouseEvent) => {
  const hotspot = nearestHotspot(event.point.x, event.point.y);
  const { cell } = cellAt(event.lngLat.lng, event.lngLat.lat);
  map.getCanvas().style.cursor = hotspot || cell ? "pointer" : "";
  const offered = hotspot ? 0 : bounties.at(event.lngLat.lng, event.lngLat.lat);
  tip.hidden = !hotspot && !cell && !offered;
  if (tip.hidden) return;
  tip.textContent = hotspot
    ? `Hotspot #${hotspot.hotspot} · heard by ${hotspot.heard_by}`
    : !cell
      ? "No measurement, no prediction"
    : cell.measured
      ? `${dbm(cell.value)} measured · ${cell.count} samples · ${age(cell.newest, Date.now())}`
      : `${dbm(cell.value)} predicted ± ${Math.round(cell.sd)} dB`;
  if (offered) tip.textContent += ` · bounty of ${credits(offered)} credits`;
  tip.style.transform = `translate(${Math.min(event.point.x + 14, innerWidth - 260)}px, ${event.point.y + 16}px)`;
});
map.getCanvas().addEventListener("mouseleave", () => (tip.hidden = true));
map.getCanvas().addEventListener("keydown", (event: KeyboardEvent) => {
  if (event.key !== "Enter") return;
  event.preventDefault(); // or it would press what gets the focus next
  const { lng, lat } = map.getCenter();
  if (bounties.choosing) {
    bounties.pick(lng, lat);
    return;
  }
  if (trying) {
    setTrying(false);
    planner.try(lng, lat);
    return;
  }
  const point = map.project([lng, lat]);
  const hotspot = nearestHotspot(point.x, point.y);
  if (hotspot) openHotspot(hotspot.hotspot);
  else openCell(cellAt(lng, lat).id);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && bounties.choosing) bounties.choose(false);
  else if (event.key === "Escape" && trying) setTrying(false);
  else if (event.key === "Escape" && !byId("detail").hidden) closeDetail();
});
byId("close").addEventListener("click", closeDetail);
byId("find").addEventListener("input", (event) => showList(scene.hotspots, (event.target as HTMLInputElement).value, openHotspot));
byId("grip").addEventListener("click", () => {
  const open = document.body.classList.toggle("expanded");
  byId("grip").setAttribute("aria-expanded", String(open));
});

/* ---- threshold and theme ---- */

const slider = byId<HTMLInputElement>("threshold");
function setThreshold(value: number): void {
  scene.threshold = value;
  report.threshold = value;
  text("threshold-value", dbm(value));
  paintRamp(byId<HTMLCanvasElement>("ramp"), value, scene.dark);
  draw();
}
slider.value = String(scene.threshold);
slider.addEventListener("input", () => setThreshold(Number(slider.value)));
darkness.addEventListener("change", () => {
  scene.dark = darkness.matches;
  live.setDark(scene.dark);
  map.setStyle(style(scene.dark));
  forgetLand(map);
  map.once("styledata", () => {
    void loadLand(map);
    drawGraticule(map);
  });
  setThreshold(scene.threshold);
});

/* ---- start ---- */

let moved = 0;
map.on("moveend", () => {
  clearTimeout(moved);
  moved = window.setTimeout(() => {
    drawGraticule(map);
    void loadLand(map);
    void refresh();
  }, 120);
});
setThreshold(scene.threshold);
setInterval(tick, 500);
async function start(): Promise<void> {
  const first = (latest = await api.stats());
  showStats(first);
  report.snapshot = first.snapshot ?? "";
  await refreshHotspots(true);
  await refresh();
  const asked = new URLSearchParams(location.search);
  const beside = asked.get("beside");
  if (beside ?? asked.get("snapshot")) {
    byId("when").setAttribute("aria-expanded", "true");
    await history.choose((beside ?? asked.get("snapshot"))!, beside !== null);
  }
  if (asked.get("hotspot")) openHotspot(Number(asked.get("hotspot")));
  else if (asked.get("cell")) openCell(asked.get("cell")!);
}
start().catch(() => showState("offline"));
map.on("load", () => {
  drawGraticule(map);
  void loadLand(map);
});
let soon = 0;
api.listen({
  stats: (value) => {
    latest = value;
    showStats(value);
  },
  news: (items) => {
    showNews(items, openHotspot);
    animate(items);
  },
  snapshot: (identity) => {
    report.snapshot = identity;
    clearTimeout(soon);
    soon = window.setTimeout(() => void (framed ? refresh() : refreshHotspots(true).then(refresh)), 150);
  },
  bounties: () => void bounties.refresh(),
  state: (open) => {
    if (!open) showState("offline", "the map server doesn’t answer");
  },
});
