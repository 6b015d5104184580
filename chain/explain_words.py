"""What a rule found, in a sentence for the owner of a hotspot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Inputs = Mapping[str, int | str]
# (when it passed, when it failed); `{...}` are inputs of the rule, `{margin}` is how far away.
WORDS: dict[str, tuple[str, str]] = {
    "report": (
        "The report came in time and is the one that was committed to.",
        "The whole report doesn't count: {reason}.",
    ),
    "unknown_beaconer": ("The beaconer is registered.", "No hotspot {beaconer} was registered."),
    "self": ("Witness and beaconer are two hotspots.", "A hotspot can't witness itself."),
    "no_reveal": (
        "The beaconer showed its secret, so what it sent is known.",
        "The beaconer never showed its secret of epoch {epoch}: nobody knows what it sent.",
    ),
    "too_close": (
        "They stand {distance_m} m apart, {margin} m more than needed.",
        "They stand {distance_m} m apart; under {at_least_m} m two keys are one site.",
    ),
    "too_far": (
        "They stand {distance_m} m apart, within {at_most_m} m.",
        "They stand {distance_m} m apart; beyond {at_most_m} m no coverage is proven.",
    ),
    "same_owner": ("They have two owners.", "Both belong to one owner; only strangers witness."),
    "foreign_region": (
        "Both assert the same region.",
        "They assert two regions, {witness_region} and {beaconer_region}; one isn't where it says.",
    ),
    "malformed": (
        "Every field holds what a hotspot writes.",
        "A field holds what no hotspot writes: flags {flags}, RSSI {rssi_cdbm}, number {sequence}.",
    ),
    "replayed": (
        "The tag is of no other recent beacon.",
        "The tag {heard_tag} is that of another beacon, of this epoch or the {epochs_searched}"
        " before.",
    ),
    "wrong_tag": (
        "The tag is the one that this beacon carried.",
        "The tag heard is {heard_tag}, the beacon carried {expected_tag}.",
    ),
    "wrong_frequency": (
        "It was heard on {heard_mhz} MHz, as registered.",
        "It was heard on {heard_mhz} MHz, but is registered on {registered_mhz} MHz.",
    ),
    "duplicate": ("It is the first in this report.", "This report had that beacon before."),
    "rssi_too_high": (
        "At full power it would be {full_power_rssi_cdbm} centi-dBm, {margin} below the most that"
        " the distance allows.",
        "At full power it would be {full_power_rssi_cdbm} centi-dBm; {highest_cdbm} is the most"
        " that the distance allows. Check gain, power and position of both ends.",
    ),
    "rssi_too_low": (
        "At full power it would be {full_power_rssi_cdbm} centi-dBm, {margin} above the least that"
        " the distance allows.",
        "At full power it would be {full_power_rssi_cdbm} centi-dBm; {lowest_cdbm} is the least"
        " that the distance allows. Check gain, power and position of both ends.",
    ),
    "not_mutual": (
        "The beaconer plausibly heard the witness too.",
        "Hotspot {beaconer} reported nothing plausible of hotspot {witness} in this epoch or the"
        " {epochs} with it: a hint, no evidence.",
    ),
    "untrusted_witness": (
        "Trust has reached the witness.",
        "Trust hasn't reached hotspot {witness} yet: it must be heard by trusted ones; or auditors"
        " confirmed that it isn't where it claims. See GET /v1/hotspots/{witness}.",
    ),
    "power_blind": (
        "The witness isn't known to miss the secret power steps.",
        "What hotspot {witness} reports doesn't follow the secret power steps of what it hears."
        " If it is honest, its driver gives wrong strengths.",
    ),
    "not_drawn": (
        "The witness was among the {drawn_at_most} drawn.",
        "Others were drawn: at most {drawn_at_most} witnesses count per beacon.",
    ),
    "held_witness": (
        "No finding holds back the weight of the witness.",
        "Auditors hold the pay and the weight of hotspot {witness} back until their finding is"
        " settled; its fee waits with them. See GET /v1/holds.",
    ),
}
SILENT = "The driver gave no strength, so this isn't checked."


def get_words(rule: str, passed: bool, inputs: Inputs, margin: int | None) -> str:
    """The sentence for a rule's outcome; KeyError for a rule that nobody put into words (a bug)."""
    if "skipped" in inputs:
        return SILENT
    return WORDS[rule][not passed].format(**inputs, margin=margin)


def get_power_words(cut_cdb: int, allowed_cdb: int) -> str:
    """What an owner should know about a beaconer that counts weaker than it was heard."""
    if not cut_cdb:
        return "Others hear it about as well as it hears them; every strength counts as heard."
    weaker = f"{cut_cdb // 100}.{cut_cdb % 100:02} dB"
    return (
        f"Others hear it more than {allowed_cdb // 100} dB better than it hears them, and better"
        f" than they hear others: it counts {weaker} weaker than it was heard."
        " Lower the power to what is asserted; if that is right, the receiver is deaf: check"
        " antenna and driver, or assert less antenna gain."
    )


def get_coverage_words(
    cells: Sequence[Mapping[str, Any]], trust_ppm: int, counted: int
) -> str:
    """What an owner should know about what its coverage earns.

    `cells` hear it, each with its `rank` there, `of` how many, and `share_permille`; in a cell no
    more than `counted` hotspots share.
    """
    if not cells:
        return (
            "Since the last settlement no reception of it counted; coverage is paid where others"
            " hear it."
        )
    where = f"Since the last settlement it was heard in {len(cells)} cells"
    if not trust_ppm:
        return f"{where}, but trust hasn't reached it, and coverage weighs quality times trust."
    paid = [cell for cell in cells if cell["share_permille"]]
    if not paid:
        return (
            f"{where}, and in each of them {counted} or more others are heard better: they share"
            " what the cell pays, since what is covered already isn't paid again. A place that"
            " fewer cover earns more."
        )
    best = max(paid, key=lambda cell: cell["share_permille"])
    share = best["share_permille"]
    return (
        f"{where} and shares what {len(paid)} of them pay: most in {best['cell']}, as number"
        f" {best['rank']} of {best['of']}, with {share // 10}.{share % 10} % of what is for"
        " coverage."
    )
