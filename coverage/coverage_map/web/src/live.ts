// What just happened, on a canvas above the map: pulses, flashes of hearing, arcs of payments.
// A plain canvas, so that the cells below are not drawn again for every frame.
import type { Map as MapLibre } from "maplibre-gl";

type Place = [number, number];

interface Pulse { kind: "pulse"; at: Place; born: number; life: number }
interface Flash { kind: "flash"; from: Place; to: Place; born: number; life: number }
interface Arc { kind: "arc"; from: Place; to: Place; born: number; life: number; ai: boolean; bend: number }
type Mark = Pulse | Flash | Arc;

const MARKS_MAX = 320;

export class LiveCanvas {
  arcsShown = 0;
  private marks: Mark[] = [];
  private running = false;
  private readonly still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  constructor(private readonly map: MapLibre, private readonly canvas: HTMLCanvasElement, private dark: boolean) {
    this.resize();
    map.on("resize", () => this.resize());
    map.on("move", () => this.wake());
  }

  setDark(dark: boolean): void {
    this.dark = dark;
  }

  pulse(at: Place, delay = 0): void {
    this.add({ kind: "pulse", at, born: performance.now() + delay, life: 1800 });
  }

  flash(from: Place, to: Place, delay = 0): void {
    this.add({ kind: "flash", from, to, born: performance.now() + delay, life: 1300 });
  }

  arc(from: Place, to: Place, ai: boolean): void {
    this.arcsShown++;
    this.add({ kind: "arc", from, to, born: performance.now(), life: ai ? 5200 : 3600, ai, bend: this.arcsShown % 2 ? 1 : -1 });
  }

  private add(mark: Mark): void {
    if (document.hidden) return;
    this.marks.push(mark);
    if (this.marks.length > MARKS_MAX) this.marks.splice(0, this.marks.length - MARKS_MAX);
    this.wake();
  }

  private wake(): void {
    if (this.running || !this.marks.length) return;
    this.running = true;
    requestAnimationFrame(() => this.frame());
  }

  private resize(): void {
    const ratio = Math.min(2, devicePixelRatio);
    this.canvas.width = this.canvas.clientWidth * ratio;
    this.canvas.height = this.canvas.clientHeight * ratio;
    this.canvas.getContext("2d")?.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  private frame(): void {
    const now = performance.now();
    const context = this.canvas.getContext("2d");
    this.running = false;
    if (!context) return;
    context.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    this.marks = this.marks.filter((mark) => now < mark.born + mark.life);
    for (const mark of this.marks) if (now >= mark.born) this.draw(context, mark, (now - mark.born) / mark.life);
    const spent = performance.now() - now;
    const pause = this.still ? 400 : Math.max(24, 3 * spent);
    if (this.marks.length) setTimeout(() => this.wake(), pause);
  }

  private point(place: Place): [number, number] {
    const { x, y } = this.map.project(place);
    return [x, y];
  }

  private draw(context: CanvasRenderingContext2D, mark: Mark, t: number): void {
    if (mark.kind === "pulse") this.drawPulse(context, mark, t);
    else if (mark.kind === "flash") this.drawFlash(context, mark, t);
    else this.drawArc(context, mark, t);
  }

  private drawPulse(context: CanvasRenderingContext2D, mark: Pulse, t: number): void {
    const [x, y] = this.point(mark.at);
    const grow = this.still ? 0.5 : 1 - (1 - t) ** 3;
    context.strokeStyle = this.dark ? `rgb(255 206 110 / ${0.85 * (1 - t)})` : `rgb(160 84 0 / ${0.8 * (1 - t)})`;
    context.lineWidth = 2.4 * (1 - t) + 0.4;
    for (const size of [34, 20]) {
      context.beginPath();
      context.arc(x, y, 5 + size * grow, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  private drawFlash(context: CanvasRenderingContext2D, mark: Flash, t: number): void {
    const [x0, y0] = this.point(mark.from);
    const [x1, y1] = this.point(mark.to);
    const head = this.still ? 1 : Math.min(1, t * 2.2);
    context.strokeStyle = this.dark ? `rgb(120 226 255 / ${0.42 * (1 - t)})` : `rgb(0 92 138 / ${0.42 * (1 - t)})`;
    context.lineWidth = 1.2;
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x0 + (x1 - x0) * head, y0 + (y1 - y0) * head);
    context.stroke();
  }

  private drawArc(context: CanvasRenderingContext2D, mark: Arc, t: number): void {
    const [x0, y0] = this.point(mark.from);
    const [x1, y1] = this.point(mark.to);
    const bend = 0.26 * mark.bend;
    const cx = (x0 + x1) / 2 - (y1 - y0) * bend;
    const cy = (y0 + y1) / 2 + (x1 - x0) * bend;
    const fade = Math.min(1, 6 * t) * (1 - Math.max(0, t - 0.6) / 0.4);
    const strong = mark.ai ? (this.dark ? "255 120 214" : "172 0 124") : this.dark ? "255 196 86" : "166 92 0";
    const along = (s: number): [number, number] => [
      (1 - s) ** 2 * x0 + 2 * s * (1 - s) * cx + s * s * x1,
      (1 - s) ** 2 * y0 + 2 * s * (1 - s) * cy + s * s * y1,
    ];
    for (const [width, alpha] of [[mark.ai ? 8 : 5, 0.14], [mark.ai ? 2.6 : 1.6, 0.85]] as const) {
      context.strokeStyle = `rgb(${strong} / ${alpha * fade})`;
      context.lineWidth = width;
      context.lineCap = "round";
      context.beginPath();
      context.moveTo(x0, y0);
      context.quadraticCurveTo(cx, cy, x1, y1);
      context.stroke();
    }
    for (let k = 0; k < (mark.ai ? 3 : 1); k++) {
      const [x, y] = along(this.still ? 1 : (t * 2.4 + k * 0.33) % 1);
      context.fillStyle = `rgb(${this.dark ? "255 255 255" : strong} / ${fade})`;
      context.beginPath();
      context.arc(x, y, mark.ai ? 3.4 : 2.4, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
