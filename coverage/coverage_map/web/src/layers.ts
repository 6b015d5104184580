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
  threshold: number;
  dark: boolean;
}

const below = (cell: Cell, threshold: number): boolean => cell.value < threshold;

export function layers(scene: Scene): unknown[] {
  const { threshold, dark } = scene;
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
    polygons("predicted", scene.predicted, [hatch]),
    polygons("measured", scene.measured, []),
    new PathLayer<Cell>({
      id: "measured-outline",
      data: scene.measured,
      getPath: (cell) => cell.ring,
      getColor: (cell) => [...ink, below(cell, threshold) ? 120 : 215],
      updateTriggers: { getColor: [threshold, dark] },
      getWidth: 1.4,
      widthUnits: "pixels",
      jointRounded: true,
    }),
    new PathLayer<{ from: [number, number]; to: [number, number]; width: number }>({
      id: "links",
      data: scene.links,
      getPath: (link) => [link.from, link.to],
      getColor: dark ? [255, 184, 56, 200] : [176, 96, 0, 210],
      getWidth: (link) => link.width,
      widthUnits: "pixels",
      capRounded: true,
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
