// A quiet ground to draw on: land outlines from a package, a graticule that follows the zoom, no labels.
import { type GeoJSONSource, type Map as MapLibre, NavigationControl, ScaleControl, type StyleSpecification } from "maplibre-gl";
import { feature } from "topojson-client";

declare const LAND_URL: string;
declare const LAND_FINE_URL: string;

const FAINT = 9.5; // from this zoom on no land is drawn, and none is fetched
const FINE = 4; // outlines at 1:110 million do below

interface Palette {
  sea: string;
  land: string;
  coast: string;
  line: string;
}

export const palette = (dark: boolean): Palette =>
  dark
    ? { sea: "#0a101d", land: "#111a2b", coast: "#2a3a57", line: "#22304a" }
    : { sea: "#dfe7ee", land: "#f3f5f2", coast: "#a9b8c6", line: "#d3dbe0" };

const nothing = { type: "FeatureCollection" as const, features: [] };

export function style(dark: boolean): StyleSpecification {
  const colour = palette(dark);
  // Close up, a coast drawn at 1:50 million would be kilometres off: it fades into plain ground.
  const ground = ["interpolate", ["linear"], ["zoom"], 7, colour.sea, 9.5, colour.land];
  return {
    version: 8,
    sources: {
      land: { type: "geojson", data: nothing, attribution: "Land: Natural Earth" },
      graticule: { type: "geojson", data: nothing },
    },
    layers: [
      { id: "ground", type: "background", paint: { "background-color": ground as never } },
      { id: "land", type: "fill", source: "land", paint: { "fill-color": colour.land, "fill-antialias": true } },
      {
        id: "coast", type: "line", source: "land",
        paint: { "line-color": colour.coast, "line-width": 0.8, "line-opacity": ["interpolate", ["linear"], ["zoom"], 7, 1, 9.5, 0] },
      },
      {
        id: "graticule", type: "line", source: "graticule",
        paint: { "line-color": colour.line, "line-width": ["match", ["get", "major"], 1, 1, 0.6], "line-opacity": 0.8 },
      },
    ],
  };
}

/** Fetches the outlines that the zoom can show, once each; call it after every move. */
export async function loadLand(map: MapLibre): Promise<void> {
  const zoom = map.getZoom();
  if (zoom >= FAINT) return;
  const url = zoom >= FINE ? LAND_FINE_URL : LAND_URL;
  if (drawn.get(map) === url || drawn.get(map) === LAND_FINE_URL) return;
  drawn.set(map, url);
  const topology = await (await fetch(url)).json();
  const source = map.getSource("land") as GeoJSONSource | undefined;
  source?.setData(unwrapped(feature(topology, topology.objects.land) as Land) as never);
}

const drawn = new WeakMap<MapLibre, string>();

/** The style was replaced, and the outlines with it. */
export const forgetLand = (map: MapLibre): boolean => drawn.delete(map);

type Ring = [number, number][];
interface Land { features: { geometry: { type: string; coordinates: Ring[][] } }[] }

/** The outlines are stitched over the antimeridian: make each ring run on past 180 degrees instead. */
function unwrapped(land: Land): unknown {
  const polygons = land.features.flatMap(({ geometry }) => geometry.coordinates);
  const coordinates = polygons.map((polygon) => polygon.map(unwrap));
  return { type: "Feature", properties: {}, geometry: { type: "MultiPolygon", coordinates } };
}

function unwrap(ring: Ring): Ring {
  let shift = 0;
  let before = ring[0]![0];
  const out = ring.map(([longitude, latitude]): [number, number] => {
    if (longitude - before > 180) shift -= 360;
    if (longitude - before < -180) shift += 360;
    before = longitude;
    return [longitude + shift, latitude];
  });
  if (!shift) return out;
  // Round a pole: close the ring along the edge of the map.
  const [first, last] = [out[0]!, out.at(-1)!];
  const edge = last[1] < 0 ? -88 : 88;
  return [...out, [last[0], edge], [first[0], edge], first];
}

const STEPS = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

/** Lines at a round step that gives some eight of them across the view. */
export function drawGraticule(map: MapLibre): void {
  const bounds = map.getBounds();
  const height = bounds.getNorth() - bounds.getSouth();
  const step = STEPS.find((candidate) => candidate <= Math.max(height, 0.004) / 5) ?? 0.001;
  const lines: unknown[] = [];
  const add = (from: [number, number], to: [number, number], major: boolean): void => {
    lines.push({ type: "Feature", properties: { major: major ? 1 : 0 }, geometry: { type: "LineString", coordinates: [from, to] } });
  };
  const south = Math.max(-85, bounds.getSouth() - height);
  const north = Math.min(85, bounds.getNorth() + height);
  const width = Math.min(360, bounds.getEast() - bounds.getWest());
  const west = bounds.getWest() - width / 2;
  const east = bounds.getEast() + width / 2;
  for (let k = Math.ceil(west / step); k * step <= east; k++) add([k * step, south], [k * step, north], k % 5 === 0);
  for (let k = Math.ceil(south / step); k * step <= north; k++) add([west, k * step], [east, k * step], k % 5 === 0);
  const source = map.getSource("graticule") as GeoJSONSource | undefined;
  source?.setData({ type: "FeatureCollection", features: lines } as never);
}

export function controls(map: MapLibre, wide: boolean): void {
  if (wide) map.addControl(new NavigationControl({ visualizePitch: true }), "top-right");
  map.addControl(new ScaleControl({ maxWidth: 110, unit: "metric" }), wide ? "bottom-right" : "top-right");
}
