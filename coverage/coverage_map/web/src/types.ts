// Shapes of what the API answers; see /api for the whole document.

export interface Snapshot {
  id: string;
  epoch: number;
  time_ms: number;
  cells: number;
}

/** What a planning job says of new sites; `cells` are those that change. */
export interface WhatIf {
  gained: Area;
  lost: Area;
  other_server: Area;
  served_before: Area;
  served_after: Area;
  interference: { before: { median_sinr_db: number | null }; after: { median_sinr_db: number | null } };
  sites: { lat: number; lon: number; reward?: { per_settlement_ucr: number; links: number } }[];
  cells: { h3: string[]; change: string[]; before_dbm: (number | null)[]; after_dbm: (number | null)[] };
}

export interface Area {
  cells: number;
  area_km2: number;
  people: number;
}

export interface Placed {
  sites: { lat: number; lon: number; adds: number; reward?: { per_settlement_ucr: number; links: number } }[];
  unit: string;
  covered: number;
  coverable_unserved: number;
  share_of_bound: number;
  candidates: number;
}

export interface Stats {
  network: string;
  preset: string;
  now_ms: number;
  epoch: number;
  epoch_ms: number;
  epoch_end_ms: number;
  snapshot: string | null;
  hotspots: number;
  beacons_judged: number;
  verdicts: Record<string, number>;
  cells: { resolution: number; measured: number; predicted: number };
  pending_receptions: number;
  settlement_epochs: number;
  bounties: { open: number; left_ucr: number; resolution: number; min_ucr: number; epochs_max: number };
  ai_requests: number;
  ai_tokens: number;
  credits_paid_ucr: number;
  ledger: { state: "ok" | "unreachable" | "waiting" | "fault"; detail: string; records: number; log_root: string };
}

export interface HotspotProperties {
  hotspot: number;
  key: string;
  owner: string;
  cell: string;
  height_m: number;
  eirp_dbm: number;
  gain_dbi: number;
  frequency_mhz: number;
  heard_by: number;
}

/** What one bounty holds for one cell; amounts in micro-credits. */
export interface Offer {
  h3: string;
  bounty: number;
  sponsor: string;
  left_ucr: number;
  per_settlement_ucr: number;
  amount_ucr: number | null;
  paid_ucr: number | null;
  since_epoch: number | null;
  until_epoch: number;
  until_ms: number | null;
  hotspots_in_cell: number;
}

/** Connected cells without service, most people first. */
export interface Gaps {
  gaps: { lat: number; lon: number; cells: number; people: number; measured_below: number; predicted_below: number; unknown: number; h3: string[] }[];
  gaps_in_all: number;
}

export interface Hotspot extends HotspotProperties {
  longitude: number;
  latitude: number;
}

export interface LinkInfo {
  beaconer: number;
  witness: number;
  median_dbm: number | null;
  count: number;
  late: number;
  newest_ms: number | null;
  distance_m: number;
  verdicts: Record<string, number>;
}

export interface Evidence {
  record_id: string;
  sequence: number;
  witness: number;
  beaconer: number;
  epoch: number;
  beacon: number;
  reason: string;
  proof: { leaf_index: number; tree_size: number; path: string[]; root: string } | null;
}

export interface CellInfo {
  h3: string;
  resolution: number;
  state: "measured" | "predicted" | "unknown";
  value_dbm: number | null;
  uncertainty_db: number | null;
  confidence: number | null;
  service_probability: number | null;
  overlap: number;
  best_server: number | null;
  measured: null | {
    p10_dbm: number;
    p50_dbm: number;
    p90_dbm: number;
    count: number;
    late: number;
    hotspots_heard: number;
    witnesses: number;
    newest_ms: number;
  };
  predicted: null | { mean_dbm: number; sd_db: number; servers: { hotspot: number; mean_dbm: number }[] };
  links: LinkInfo[];
  evidence: Evidence[];
  pending_receptions: number;
  bounties: Offer[];
}

export interface HotspotInfo extends HotspotProperties {
  offset_db: number;
  heard: LinkInfo[];
  hears: LinkInfo[];
  earnings: null | Record<string, unknown>;
  why: string[];
}

export type News =
  | { kind: "report"; hotspot: number; epoch: number; heard: number[]; cell: string | null; record: string }
  | { kind: "payment"; payer: number; payee: number; amount_ucr: number; ai_requests: number; ai_tokens: number; relayed_bytes: number; for: "ai" | "relay" }
  | { kind: "hotspot"; hotspot: number; cell: string; moved: boolean }
  | { kind: "bounty"; bounty: number; cells: string[]; amount_ucr: number; until_epoch: number }
  | { kind: "epoch"; epoch: number; end_ms: number }
  | { kind: "settlement"; epoch: number }
  | { kind: "verdicts"; epoch: number; receptions: number; counted: number };

/** A cell as the page draws it. */
export interface Cell {
  id: string;
  ring: [number, number][];
  value: number;
  sd: number;
  measured: boolean;
  coarser: boolean;
  count: number;
  hotspots: number;
  newest: number;
  server: number;
}
