// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en");

export const count = (value: number): string =>
  value < 100_000 ? whole.format(value) : `${(value / 1e6).toPrecision(3)} M`;

export const dbm = (value: number | null | undefined): string =>
  value == null || Number.isNaN(value) ? "–" : `${Math.round(value)} dBm`.replace("-", "−");

/** dBm without the unit. */
export const bare = (value: number): string => String(Math.round(value)).replace("-", "−");

export const db = (value: number | null | undefined): string =>
  value == null ? "–" : `${value.toFixed(1)} dB`.replace("-", "−");

/** Micro-credits as credits, with as many digits as matter. */
export function credits(ucr: number): string {
  const value = ucr / 1e6;
  if (value === 0) return "0";
  if (value >= 1000) return whole.format(Math.round(value));
  return value >= 1 ? value.toFixed(1) : value.toPrecision(2).replace(/\.?0+$/, "");
}

export function age(ms: number, now: number): string {
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 90) return `${s} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  if (s < 172_800) return `${Math.round(s / 3600)} h ago`;
  return `${Math.round(s / 86_400)} days ago`;
}

/** How long until then. */
export function ahead(ms: number, now: number): string {
  const s = Math.round((ms - now) / 1000);
  if (s <= 0) return "now";
  if (s < 5400) return `in ${Math.max(1, Math.round(s / 60))} min`;
  if (s < 172_800) return `in ${Math.round(s / 3600)} h`;
  return `in ${Math.round(s / 86_400)} days`;
}

export function clock(ms: number): string {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

export const percent = (share: number | null): string => (share == null ? "–" : `${Math.round(share * 100)} %`);

export const distance = (metres: number): string =>
  metres < 1000 ? `${metres} m` : `${(metres / 1000).toFixed(1)} km`;

/** Each rule of the ledger in plain words. */
export const REASONS: Record<string, [string, string]> = {
  counted: ["Counted", "every check passed and the draw picked this witness: it is paid"],
  not_drawn: ["Valid, not drawn", "every check passed; the draw picked other witnesses for pay"],
  not_mutual: ["Not returned", "the other end doesn’t report hearing back: a hint, unpaid"],
  untrusted_witness: ["Witness not trusted", "no path of trust leads from a seed to this witness yet"],
  late: ["Late", "came after its epoch: feeds the map, never paid"],
  too_close: ["Too close", "the two stand too near each other to prove anything"],
  too_far: ["Too far", "farther than this radio can reach"],
  rssi_too_high: ["Too strong", "stronger than physics allows at this distance"],
  rssi_too_low: ["Too weak", "weaker than any real radio would hear it"],
  no_commit: ["No commitment", "the witness didn’t commit before the secret was out"],
  commit_mismatch: ["Commitment broken", "the report isn’t the one it committed to"],
  no_reveal: ["No secret", "the beaconer never revealed its secret"],
  wrong_tag: ["Wrong answer", "the tag isn’t what the beaconer’s secret gives"],
  wrong_frequency: ["Wrong channel", "heard where the beaconer doesn’t send"],
  duplicate: ["Twice", "the same beacon reported twice"],
  unknown_beaconer: ["Unknown sender", "no such hotspot"],
  self: ["Own beacon", "a hotspot can’t witness itself"],
  unjudged: ["No verdict", "the ledger holds no verdict on it"],
};

export const reason = (name: string): string => REASONS[name]?.[0] ?? name.replaceAll("_", " ");
