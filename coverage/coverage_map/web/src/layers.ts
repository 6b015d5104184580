// deck.gl layers: predicted cells hatched, measured cells solid with an outline, hotspots on top.
import { PathLayer, ScatterplotLayer, SolidPolygonLayer } from "@deck.gl/layers";
import { fill } from "./colour";
import { HatchExtension } from "./hatch";
import type { Cell, Hotspot } from "./types";

const hatch = new HatchExtension();

export interface Scene {
  predicted: Cell[];
  measured: Cell[];
  hotspots: Hotspot[];
  selectedRing: [number, number][] | null;
  selectedHotspot: number | null;
  links: { from: [number, number]; to: [number, number]; width: number }[];
  /** What a candidate would change, and ranked candidates. */
  changes: { ring: [number, number][]; kind: string }[];
  candidates: { at: [number, number]; rank: number }[];
  /** Cells that somebody pays for (`share`: how much of the largest is left), and cells chosen for a bounty. */
  offers: { ring: [number, number][]; share: number }[];
  picked: { ring: [number, number][] }[];
  /** Cells of an earlier snapshot, shown west of a longitude; null: no comparison. */
  before: { predicted: Cell[]; measured: Cell[]; until: number } | null;
  threshold: number;
  dark: boolean;
}

const CHANGED: Record<string, [number, number, number]> = { gained: [255, 196, 0], lost: [224, 30, 90], other_server: [122, 108, 255] };

/** Cells on either side of the comparison's line; a cell belongs where its first corner lies. */
function divided(scene: Scene): { predicted: Cell[]; measured: Cell[] } {
  const { before } = scene;
  if (!before) return scene;
  const west = (cell: Cell): boolean => cell.ring[0]![0] < before.until;
  const join = (old: Cell[], now: Cell[]): Cell[] => [...old.filter(west), ...now.filter((cell) => !west(cell))];
  return { predicted: join(before.predicted, scene.predicted), measured: join(before.measured, scene.measured) };
}

type Rgb = [number, number, number];

/** Cells with an edge and so little tint that the signal below keeps its colour; left out when there are none. */
function marked<T extends { ring: [number, number][] }>(id: string, data: T[], colour: Rgb, alpha: (one: T) => number, width: number): unknown[] {
  if (!data.length) return [];
  return [
    new SolidPolygonLayer<T>({ id, data, getPolygon: (one) => one.ring, getFillColor: (one) => [...colour, alpha(one)] as [number, number, number, number], extruded: false }),
    new PathLayer<T>({ id: `${id}-edge`, data, getPath: (one) => one.ring, getColor: colour, getWidth: width, widthUnits: "pixels", jointRounded: true }),
  ];
}

const below = (cell: Cell, threshold: number): boolean => cell.value < threshold;

export function layers(scene: Scene): unknown[] {
  const { threshold, dark } = scene;
  const shown = divided(scene);
  const ink: [number, number, number] = dark ? [255, 255, 255] : [16, 26, 44];
  const polygons = (id: string, data: Cell[], extensions: unknown[]): unknown =>
    new SolidPolygonLayer<Cell>({
      id,
      data,
      getPolygon: (cell) => cell.ring,
      getFillColor: (cell) => {
        const colour = fill(cell.value, cell.sd, cell.measured, threshold, dark);
        // A coarser cell says less about any one place in it.
        if (cell.coarser) colour[3] = 150;
        return colour;
      },
      updateTriggers: { getFillColor: [threshold, dark] },
      extensions: extensions as never[],
      extruded: false,
    });
  return [
    polygons("predicted", shown.predicted, [hatch]),
    polygons("measured", shown.measured, []),
    new PathLayer<Cell>({
      id: "measured-outline",
      data: shown.measured,
      getPath: (cell) => cell.ring,
      getColor: (cell) => [...ink, below(cell, threshold) ? 120 : 215],
      updateTriggers: { getColor: [threshold, dark] },
      getWidth: 1.4,
      widthUnits: "pixels",
      jointRounded: true,
    }),
    ...marked("offers", scene.offers, dark ? [196, 165, 255] : [96, 52, 190], (one) => 14 + 26 * one.share, 3),
    ...marked("picked", scene.picked, dark ? [255, 206, 110] : [150, 78, 0], () => 34, 3.4),
    new PathLayer<{ from: [number, number]; to: [number, number]; width: number }>({
      id: "links",
      data: scene.links,
      getPath: (link) => [link.from, link.to],
      getColor: dark ? [255, 184, 56, 200] : [176, 96, 0, 210],
      getWidth: (link) => link.width,
      widthUnits: "pixels",
      capRounded: true,
    }),
    // Left out when there are none: an emptied polygon layer goes on being drawn.
    scene.changes.length > 0 &&
      new SolidPolygonLayer<{ ring: [number, number][]; kind: string }>({
        id: "changes",
        data: scene.changes,
        getPolygon: (change) => change.ring,
        getFillColor: (change) => [...(CHANGED[change.kind] ?? [128, 128, 128]), change.kind === "other_server" ? 90 : 190] as [number, number, number, number],
        extruded: false,
      }),
    new ScatterplotLayer<{ at: [number, number]; rank: number }>({
      id: "candidates",
      data: scene.candidates,
      getPosition: (candidate) => candidate.at,
      getRadius: (candidate) => 13 - candidate.rank,
      getFillColor: [255, 184, 56, 255],
      getLineColor: [60, 30, 0, 255],
      stroked: true,
      lineWidthUnits: "pixels",
      getLineWidth: 2,
      radiusUnits: "pixels",
    }),
    new PathLayer<[number, number][]>({
      id: "selection",
      data: scene.selectedRing ? [scene.selectedRing] : [],
      getPath: (ring) => ring,
      getColor: dark ? [255, 184, 56, 255] : [176, 84, 0, 255],
      getWidth: 3.5,
      widthUnits: "pixels",
      jointRounded: true,
    }),
    new ScatterplotLayer<Hotspot>({
      id: "hotspots",
      data: scene.hotspots,
      getPosition: (hotspot) => [hotspot.longitude, hotspot.latitude],
      getRadius: (hotspot) => (hotspot.hotspot === scene.selectedHotspot ? 7.5 : 4.2),
      getFillColor: (hotspot) =>
        hotspot.hotspot === scene.selectedHotspot ? [255, 184, 56, 255] : dark ? [12, 18, 32, 255] : [255, 255, 255, 255],
      getLineColor: dark ? [255, 206, 110, 255] : [140, 74, 0, 255],
      updateTriggers: { getRadius: scene.selectedHotspot, getFillColor: [scene.selectedHotspot, dark] },
      stroked: true,
      lineWidthUnits: "pixels",
      getLineWidth: 1.8,
      radiusUnits: "pixels",
    }),
  ];
}
