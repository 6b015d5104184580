// The map's binary tiles (docs/map-api.md): a name plane, a measured bit per row, columns by bytes.
import { cellToBoundary, getResolution } from "h3-js";
import type { Cell } from "./types";

const COLUMNS = "value,sd,count,hotspots,age,server";
const NAMES: Record<number, string> = { 1: "value", 2: "sd", 3: "count", 4: "hotspots", 6: "age", 14: "server" };
const HEAD_BYTES = 24;
const COLUMN_BYTES = 12;

interface Column {
  name: string;
  width: number;
  summed: boolean;
  offset: number;
  scale: number;
}

export interface Clock {
  epoch: number;
  epochMs: number;
  now: number;
}

/** The cell at a place under a parent: the digits of `place` in base 7, most significant first. */
function child(parent: bigint, from: number, to: number, place: number): string {
  let id = (parent & ~(0xfn << 52n)) | (BigInt(to) << 52n);
  for (let resolution = to; resolution > from; resolution--) {
    const shift = BigInt(3 * (15 - resolution));
    id = (id & ~(7n << shift)) | (BigInt(place % 7) << shift);
    place = Math.floor(place / 7);
  }
  return id.toString(16).padStart(15, "0");
}

function places(plane: Uint8Array, gaps: boolean, rows: number): number[] {
  const found: number[] = [];
  if (!gaps) {
    plane.forEach((byte, k) => {
      for (let bit = 0; byte >> bit; bit++) if ((byte >> bit) & 1) found.push(8 * k + bit);
    });
    return found;
  }
  let [at, last] = [0, -1];
  while (found.length < rows) {
    let [gap, shift, byte] = [0, 1, 0];
    do {
      byte = plane[at++] ?? 0;
      gap += (byte & 127) * shift;
      shift *= 128;
    } while (byte & 128);
    last += gap + 1;
    found.push(last);
  }
  return found;
}

function columnsOf(view: DataView): Column[] {
  return Array.from({ length: view.getUint8(14) }, (_, k) => {
    const at = HEAD_BYTES + COLUMN_BYTES * k;
    return {
      name: NAMES[view.getUint8(at)] ?? "",
      width: view.getUint8(at + 1),
      summed: view.getUint8(at + 2) === 1,
      offset: view.getFloat32(at + 4, true),
      scale: view.getFloat32(at + 8, true),
    };
  });
}

/** Values of a column; NaN where there is none. Bytes of a width stand in planes, lowest first. */
function values(bytes: Uint8Array, start: number, rows: number, column: Column): Float64Array {
  const found = new Float64Array(rows);
  const limit = 256 ** column.width;
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    let code = 0;
    for (let plane = column.width - 1; plane >= 0; plane--) code = 256 * code + bytes[start + plane * rows + row]!;
    if (column.summed) code = sum = (sum + code) % limit;
    found[row] = code === limit - 1 ? Number.NaN : column.offset + column.scale * code;
  }
  return found;
}

/** Decodes a tile. Throws on anything that isn't one. */
export function decode(data: ArrayBuffer, clock: Clock): Cell[] {
  const [view, bytes] = [new DataView(data), new Uint8Array(data)];
  if (data.byteLength < HEAD_BYTES || String.fromCharCode(...bytes.subarray(0, 4)) !== "WCT1") throw new Error("the tile is damaged");
  const parent = view.getBigUint64(4, true);
  const [to, kind, rows, plane] = [view.getUint8(12), view.getUint8(13), view.getUint32(16, true), view.getUint32(20, true)];
  const columns = columnsOf(view);
  let at = HEAD_BYTES + COLUMN_BYTES * columns.length;
  const found = places(bytes.subarray(at, at + plane), kind === 1, rows);
  at += plane;
  const measured = bytes.subarray(at, at + Math.ceil(rows / 8));
  at += measured.length;
  const by: Record<string, Float64Array> = {};
  for (const column of columns) {
    by[column.name] = values(bytes, at, rows, column);
    at += rows * column.width;
  }
  const number = (name: string, row: number, none: number): number => {
    const value = by[name]?.[row] ?? Number.NaN;
    return Number.isNaN(value) ? none : value;
  };
  const from = getResolution(parent.toString(16).padStart(15, "0"));
  return found.map((place, row) => {
    const id = child(parent, from, to, place);
    return {
      id,
      ring: cellToBoundary(id, true) as [number, number][],
      value: number("value", row, Number.NaN),
      sd: number("sd", row, Number.NaN),
      measured: ((measured[row >> 3]! >> (row & 7)) & 1) === 1,
      coarser: false,
      count: number("count", row, 0),
      hotspots: number("hotspots", row, 0),
      newest: clock.now - number("age", row, 0) * clock.epochMs,
      server: number("server", row, -1),
    };
  });
}

const remembered = new Map<string, { tag: string | null; cells: Cell[] }>();

/** All cells of a resolution under a zone, in a snapshot or `live`; revalidated where it may change. */
export async function tile(snapshot: string, zone: string, resolution: number, clock: Clock): Promise<Cell[]> {
  const path = `/tiles/${snapshot}/h3/${zone}/${resolution}?columns=${COLUMNS}`;
  const known = remembered.get(path);
  if (known && snapshot !== "live") return known.cells;
  const answer = await fetch(path, { cache: snapshot === "live" ? "no-cache" : "default" });
  if (answer.status === 404) return [];
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  const tag = answer.headers.get("etag");
  if (known && tag && known.tag === tag) return known.cells;
  const cells = decode(await answer.arrayBuffer(), clock);
  if (remembered.size > 600) remembered.clear();
  remembered.set(path, { tag, cells });
  return cells;
}
