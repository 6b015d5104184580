// One scale for all: served cells run from teal to pale gold by margin, cells below are rose.
// Both differ in lightness as well as hue, so that they stay apart without colour vision.

export type Rgba = [number, number, number, number];

const SERVED_DARK: [number, number, number][] = [
  [15, 116, 128], [22, 156, 152], [52, 196, 160], [126, 224, 146], [206, 242, 132], [255, 250, 190],
];
const SERVED_LIGHT: [number, number, number][] = [
  [126, 205, 190], [64, 176, 170], [24, 143, 152], [14, 108, 134], [22, 74, 112], [28, 42, 88],
];
const BELOW_DARK: [number, number, number][] = [[74, 34, 66], [150, 62, 96]];
const BELOW_LIGHT: [number, number, number][] = [[238, 196, 206], [222, 128, 148]];
export const SPAN_DB = 30;

function mix(stops: [number, number, number][], at: number): [number, number, number] {
  const place = Math.min(0.9999, Math.max(0, at)) * (stops.length - 1);
  const low = stops[Math.floor(place)]!;
  const high = stops[Math.floor(place) + 1]!;
  const part = place % 1;
  return [0, 1, 2].map((k) => Math.round(low[k]! + (high[k]! - low[k]!) * part)) as [number, number, number];
}

/** Colour of a signal against the threshold, without opacity. */
export function signal(value: number, threshold: number, dark: boolean): [number, number, number] {
  const margin = value - threshold;
  if (margin >= 0) return mix(dark ? SERVED_DARK : SERVED_LIGHT, margin / SPAN_DB);
  return mix(dark ? BELOW_DARK : BELOW_LIGHT, 1 + margin / 30);
}

/** Fill of a cell: measured is solid; a prediction is fainter, the fainter the less it is sure. */
export function fill(value: number, sd: number, measured: boolean, threshold: number, dark: boolean): Rgba {
  const sure = Math.max(0, Math.min(1, 1 - (sd - 4) / 12));
  const fade = Math.max(0.25, 1 + (value - threshold) / 36); // far below, a guess hardly matters
  const alpha = measured ? 238 : Math.round(value >= threshold ? 120 + 60 * sure : (dark ? 104 : 132) * fade);
  return [...signal(value, threshold, dark), alpha];
}

/** Paints the legend's ramp for a threshold. */
export function paintRamp(canvas: HTMLCanvasElement, threshold: number, dark: boolean): void {
  const context = canvas.getContext("2d");
  if (!context) return;
  for (let x = 0; x < canvas.width; x++) {
    const value = -110 + (60 * x) / (canvas.width - 1);
    const [r, g, b] = signal(value, threshold, dark);
    context.fillStyle = `rgb(${r} ${g} ${b})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}
