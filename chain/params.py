"""The constants of a network, each with its derivation; a genesis names one preset for good."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

CREDIT_UCR = 1_000_000
MIB = 1 << 20
# The newest set of rules; docs/records.md, "Rules", says what each changed.
NEWEST_RULES = 2
NO_FLOOR_CDBM = -(1 << 20)  # below any strength


@dataclass(frozen=True, slots=True)
class Params:
    """Rules of one network as numbers: ms, micro-credits (ucr), basis points (bp)."""

    name: str

    # One signed message per hotspot and epoch: 10 minutes keeps 300,000 hotspots at 500 messages/s.
    epoch_ms: int
    # A beacon costs 1.6 ms of air at 1 Mb/s; four in ten minutes is under 0.002 % per neighbour.
    beacons_per_epoch: int
    # Mainnet settles daily, shorter presets within a minute or ten, so that a person sees it.
    settlement_epochs: int
    # Beacons end this long before the epoch does, so that the message about them arrives inside it.
    message_lead_ms: int
    # Nor does a beacon come before this: R_e is known when e-1 closes, and hotspots must fetch it.
    mix_lead_ms: int
    # A late message is kept for the map this long, and no longer: fork evidence is held as long.
    late_epochs: int
    # Later than that, up to a month (31 days), a hotspot that was offline still delivers what it
    # heard to the map, in the order in which it heard it; 0: nothing.
    map_late_epochs: int
    # Longest silence that a reveal may bridge; each epoch costs one hash, 1,008 of them under 1 ms.
    chain_gap_max: int
    # Locked per hotspot: the price of a key. Networks on one machine take a token sum or nothing.
    bond_ucr: int
    # Bootstrap minted per settlement at most, halved every `bootstrap_halving` settlements.
    bootstrap_ucr: int
    bootstrap_halving: int

    # An assertion binds two epochs ahead: R of that epoch isn't known yet, so no key can be ground.
    bind_epochs: int = 2
    # What the sequencer promised to take is in the log when the epoch after closes: a record that
    # came in an epoch's last moment, or while the disk was full for a minute, still makes it.
    promise_epochs: int = 1
    # Of a beacon's candidates this many count. With 20 % liars, four or more of five lots fall to
    # them for 0.7 % of the beacons (binomial).
    witnesses_drawn: int = 5
    # A witness whose reports show less than two fifths of the secret power steps hears something
    # else. So much must they have varied, in dB^2, before the slope tells: its deviation is s over
    # the root of that, 0.076 with packets that vary by s = 4 dB (cabled: 1.0 to 2.1). Who hears
    # nothing shows 0 and passes at 5.3 deviations; an honest receiver that shows nine tenths of a
    # step fails at 6.5, and at 5.5 where hearing ends (slope_reach_cdbm). Four steps of 0,
    # 3, 6, 9 dB vary by 33.75, so a hotspot with ten neighbours gets there in nine epochs.
    slope_spread_min_db2: int = 2_800
    slope_cut_percent: int = 40
    # Only beacons tell whose power leaves them so strong on average over their link: of weaker ones
    # the unlucky get lost, and those that don't show less of a step. A radio may need -82 dBm for
    # 6 Mb/s (802.11, table 17-18, the least that the standard asks); 6 dB above that its slope lies
    # 5.5 deviations above the cut at worst, one in 50 million looks (tests/test_proof_slopes.py).
    # Links at -72 dBm thus tell by two of the four steps, at -67 dBm by all.
    slope_reach_cdbm: int = -7_600
    # The first rules asked for a mean at full power instead.
    slope_floor_cdbm: int = NO_FLOOR_CDBM
    # What a link says both ways may differ by so much at most before a beaconer counts as weaker
    # (chain/rules/loudness.py): 6 dB that a receiver without calibration is off, and 1 dB by which
    # the median over its partners is. 0: nobody ever does.
    loud_allowed_cdb: int = 700
    # Where radios are better than that it is less: 1.9 times what half of them differ by at least,
    # 1.28 deviations of a normal spread, which one honest radio in ten exceeds; the cut grows from
    # 0 there, so that costs it little. At least 3 dB, which data sheets are off by.
    loud_spread_percent: int = 190
    loud_least_cdb: int = 300
    # Of fewer radios than this the spread says little, and all of the 7 dB is allowed.
    loud_network_min: int = 20
    # Over fewer partners than this a median is the word of one.
    loud_partners_min: int = 3
    # Both ends must have heard each other within so many epochs. A driver that drops four frames
    # of five hears one of four beacons in 59 % of all epochs; over a link that loses half of the
    # rest in 34 %. Ten epochs in a row without one: 0.013 %, and 1.5 %. (More take another row.)
    mutual_epochs: int = 10
    # Where a hotspot moves to another cell, the trust of the place before stays there.
    moves_reset: bool = True
    # A region's limits hold for the power into the antenna too (chain/rules/regions.py).
    conducted_limits: bool = True
    # Res-10 neighbours stand 130 m apart; nearer than 50 m two keys are one site.
    min_distance_m: int = 50
    # The radio horizon of two 37 m masts, 4.12 * 2 * sqrt(37) km; longer links prove no coverage.
    max_distance_m: int = 50_000
    # Two messages of one hotspot and epoch must fit into one finding, or a fork of large reports
    # couldn't be proven: 2 * (2,304 * 14 + 180) + 200 bytes are 65,072 of a wire's 65,535.
    max_receptions: int = 2_304

    # A retired hotspot's bond stays this long: a week for others to bring what they know of it.
    # Longer than `late_epochs` and than claims stay open, so that every message is in by then.
    appeal_epochs: int = 1_008
    # Of a slashed bond the finder gets a tenth: worth the trouble of reporting, and whoever reports
    # itself loses nine tenths. The rest is destroyed.
    finder_bp: int = 1_000
    # An owner may appeal against a hold this long: three days, for who looks at its hotspot on
    # weekends only. Longer by far than the minutes that a re-run takes.
    hold_appeal_epochs: int = 432
    # A hold ends after two weeks at most, its evidence is not older: half of it for auditors to run
    # everything again on later epochs.
    hold_epochs_max: int = 2_016
    # Whoever signs a finding locks this; the owner gets it unless the finding is confirmed. A
    # credit is about what a hotspot earns in a day where traffic is dense (docs/rewards.md).
    hold_deposit_ucr: int = CREDIT_UCR
    # More than half of the auditors must sign a finding, and never one alone.
    hold_auditors_min: int = 2
    # An auditor signs new findings for at most a tenth of all hotspots in a settlement, and has no
    # more than a third open: where more lie, those who lie are who the statistics believe.
    hold_new_permille: int = 100
    hold_open_permille: int = 333
    # A claim that was confirmed to be false has no trust (chain/rules/refuted.py).
    refuted_rest: bool = True
    # Whether a hotspot may take another key (chain/rules/rotations.py).
    keys_rotate: bool = True
    # An owner who lost a hotspot's key waits this long for another to speak, so that who holds the
    # key may object: three days, as for appeals.
    rotation_delay_epochs: int = 432
    # What a former key signed is taken this long: a day to claim its receipts, a day to open their
    # leaves (`opening_epochs`). No other rotation before, so that one former key stands at most.
    rotation_grace_epochs: int = 288
    # Keys are given a role for a year at most, 366 days of ten minutes: what nobody renews lapses.
    appointment_epochs_max: int = 52_704
    # Most holders of a role at a time, by its number: 1,024 seeds, as in a genesis; 32 cosigners,
    # a bit each of a 4-byte map; 2 sequencers, the old key and the new one while they change; 100
    # validators, whose votes are 11 kB a block; 64 operators, as many as can sign one record; 64
    # auditors.
    role_limits: tuple[int, ...] = (1_024, 32, 2, 100, 64, 64)
    # Checkpoints that may still be cosigned: over an hour for a cosigner that was away.
    closes_kept: int = 8

    # Of every burned credit 5 % are destroyed: dealing with oneself always loses at least that.
    fee_bp: int = 500
    # A fifth goes to whoever covers the payer's cell; the rest to the relay or provider itself.
    coverage_share_bp: int = 2_000
    # Of what a cell pays, a tenth goes to the witnesses who measured it.
    witness_fee_bp: int = 1_000
    # Coverage is priced per res-8 cell: 0.74 km2, about what one hotspot's beacons reach in a city.
    reward_resolution: int = 8
    # Most that the pool of one cell pays in a settlement; the rest stays for the next.
    value_cap_ucr: int = 1_000 * CREDIT_UCR
    # Most of the bootstrap that one cell takes: a lonely cell can't have it all.
    bootstrap_cell_cap_ucr: int = 10 * CREDIT_UCR
    # Weight of the k-th best hotspot of a cell: each one more is worth half of the one before, and
    # beyond the eighth, whose share is 0.4 %, nothing.
    overlap_permille: tuple[int, ...] = (1_000, 500, 250, 125, 63, 31, 16, 8, 0)
    # A cell earns the whole bootstrap from hotspots with a tenth of the mean trust on, less below:
    # keys without number behind one honest neighbour share what that one lets through.
    bootstrap_trust_ppm: int = 100_000
    # Least that a bounty locks per cell: a row of the state, kept a month, is no toy.
    bounty_min_ucr: int = CREDIT_UCR // 10
    # A bounty lasts three months of mainnet at most, so that no forgotten one stays for good.
    bounty_epochs_max: int = 12_960

    # Of what a cell pays, at most this goes to mappers: half of what its witnesses get, since
    # mappers come by and witnesses stay.
    mapper_fee_bp: int = 500
    # What a mapping removes, in dB^2: the signal of a cell nobody mapped for 30 settlements has the
    # variance V = 61 (UMi shadowing, 7.82 dB: 3GPP TR 38.901, table 7.4.1-1), one mapped yesterday
    # V = 61 * age // 30; a phone, whose antenna nobody knows, measures with a variance of 36 (6 dB)
    # and so takes V * V // (V + 36) away. From each age on:
    mapper_age_units: tuple[tuple[int, int], ...] = ((30, 38), (14, 12), (7, 3), (4, 1))
    # Who hears two hotspots learns half as much again, and so on, as in `overlap_permille`.
    mapper_heard_permille: tuple[int, ...] = (1_000, 1_500, 1_750, 1_875)
    # A phone's antenna may be this much better than none, by an outside antenna, ...
    mapper_gain_up_cdb: int = 600
    # ... or worse: in a hand (10 dB), behind the window of a car (5 dB).
    mapper_gain_down_cdb: int = 1_500
    # Pay of a mapping waits this many settlements for an observation that agrees: a week of days.
    mapper_lapse_settlements: int = 7
    # One-time keys cost nothing, so their number is capped: per epoch 1.4 % of the 300,000 messages
    # that a ledger is built for.
    mapper_commits_max: int = 4_096

    # A relay forwards at most this much, or this long, beyond the newest receipt.
    chunk_bytes: int = 65_536
    receipt_ms: int = 1_000
    # Escrow of a session is locked at most this long, so that a lost payee can't hold it for years.
    session_epochs_max: int = 1_008
    # Points that draw leaves of a relay's claim. One whose false leaves are a share f of its value
    # passes with (1 - f)^30, so cheating gains less than a thirtieth of it whatever f is: a bond of
    # that much makes it lose, and a tenth is caught in 95.8 % of all claims (docs/rewards.md).
    openings_drawn: int = 30
    # From a claim's epoch on, for its relay to open what was asked: a day, so that a relay whose
    # line was cut, or a payer that sleeps, still answers; far below `appeal_epochs`.
    opening_epochs: int = 144

    # Each settlement carries trust 16 hops farther, from where the one before left it; of a walk
    # that restarts at the seeds, 0.85^16 = 7 % would still be under way.
    trust_rounds: int = 16
    trust_damping_permille: int = 850
    # One neighbour carries at most as much weight as this many epochs of mutual hearing.
    trust_edge_cap: int = 4
    # Before the first settlement: mutual hearing within this many hops of a seed.
    trust_hops: int = 16
    # A witness counts from a millionth of the mean trust on: far hotspots do, unlinked rings don't.
    trust_floor_ppm: int = 1
    # A network without seeds trusts everybody: for trials on one machine only.
    may_lack_seeds: bool = True

    def epoch_at(self, start_ms: int, time_ms: int) -> int:
        """The epoch that holds a time; 0 before the start."""
        return max(0, time_ms - start_ms) // self.epoch_ms


PRESETS = {
    # A day holds 144 epochs; a week of silence (1,008 epochs) can still be bridged.
    "mainnet": Params(
        name="mainnet",
        epoch_ms=600_000,
        beacons_per_epoch=4,
        settlement_epochs=144,
        message_lead_ms=60_000,
        mix_lead_ms=10_000,
        late_epochs=144,
        map_late_epochs=4_464,
        chain_gap_max=1_008,
        bond_ucr=10 * CREDIT_UCR,
        bootstrap_ucr=100_000 * CREDIT_UCR,
        bootstrap_halving=730,  # two years of daily settlements
        may_lack_seeds=False,
    ),
    # A beacon per 10 s and an epoch per minute: the pace of the virtual testbed.
    "testbed": Params(
        name="testbed",
        epoch_ms=60_000,
        beacons_per_epoch=6,
        settlement_epochs=10,
        message_lead_ms=10_000,
        mix_lead_ms=2_000,
        late_epochs=60,
        map_late_epochs=1_440,
        chain_gap_max=1_440,
        appeal_epochs=120,  # two hours
        hold_appeal_epochs=60,
        hold_epochs_max=1_440,  # a day
        hold_deposit_ucr=0,
        hold_auditors_min=1,
        rotation_delay_epochs=60,
        rotation_grace_epochs=12,
        opening_epochs=6,  # two until the draw, four to answer
        bond_ucr=CREDIT_UCR,
        bootstrap_ucr=1_000 * CREDIT_UCR,
        bootstrap_halving=144,
    ),
    # The shortest epoch that a loaded laptop keeps; a settlement per minute.
    "minimal": Params(
        name="minimal",
        epoch_ms=10_000,
        beacons_per_epoch=1,
        settlement_epochs=6,
        message_lead_ms=3_000,
        mix_lead_ms=1_000,
        late_epochs=60,
        map_late_epochs=1_440,
        chain_gap_max=8_640,
        appeal_epochs=90,  # a quarter of an hour
        hold_appeal_epochs=30,  # five minutes
        hold_epochs_max=1_440,  # four hours
        hold_deposit_ucr=0,
        hold_auditors_min=1,
        rotation_delay_epochs=30,
        rotation_grace_epochs=12,
        opening_epochs=6,  # a minute: two epochs until the draw, four to answer
        bond_ucr=0,
        bootstrap_ucr=1_000 * CREDIT_UCR,
        bootstrap_halving=1_440,
    ),
}

# What older sets of rules said otherwise, by their number; the same for every preset.
OLDER_RULES: dict[int, dict[str, Any]] = {
    1: {
        **{"map_late_epochs": 0, "mutual_epochs": 1, "moves_reset": False},
        **{"slope_cut_percent": 50, "slope_floor_cdbm": -7_500, "conducted_limits": False},
        **{"slope_reach_cdbm": NO_FLOOR_CDBM, "keys_rotate": False},
        **{"loud_allowed_cdb": 0, "refuted_rest": False},
    },
}


def get_params(preset: str, rules: int) -> Params:
    """The constants of a preset under a set of rules; KeyError for either unknown."""
    params = PRESETS[preset]
    return params if rules == NEWEST_RULES else replace(params, **OLDER_RULES[rules])
