"""Each test in words that an owner understands, with its numbers."""

from __future__ import annotations

import math
from typing import Any

from coverage_map.audit.scores import TESTS, Scores

# {value}: the statistic; {samples}: what it rests on; {other}: the partner.
SAYS = {
    "slope": "what it reports follows the senders' secret power steps with a slope of {value:.2f}"
    " (1 is honest, 0 is invented), over {samples} packets",
    "sent_slope": "it claims to set its power; {samples} neighbours see a slope of {value:.2f}"
    " (1 if it does)",
    "reciprocity": "its {samples} links measured both ways disagree by {value:.1f} dB"
    " (honest radios: about 1 dB)",
    "power": "it is heard {value:+.1f} dB stronger than it hears, for what it claims",
    "one_way": "of {samples} neighbours that it claims to hear well, a share of {value:.2f} hears"
    " it",
    "location": "the place that explains best how {samples} neighbours hear it lies {value:.0f} m"
    " outside the claimed cell",
    "opportunity": "it is heard by {value:.2f} times as many neighbours as its claimed place"
    " promises",
    "misfit": "who hears it and who doesn't fits no place in its cell: {value:.1f} deviations from"
    " the usual, {samples} neighbours asked",
    "place": "what {samples} neighbours heard of it, or didn't, speaks against its claimed place"
    " with {value:.1f} nats in all",
    "vouched": "a share of {value:.2f} of {samples} neighbours hears it, at strengths that suit its"
    " claim, and the others, who stand no worse, hear nothing",
    "carried": "of {samples} links that it had at first or has now, a share of {value:.2f} is the"
    " same, and no move was asserted",
    "colocation": "it sounds like hotspot {other}: {samples} common witnesses, differences of"
    " {value:.1f} dB (one radio: about 1 dB; one room: 5 dB)",
    "copying": "its packets go up and down with those of hotspot {other}: correlation {value:.2f}"
    " over {samples} packets",
    "spectrum": "the losses that it reports lie {value:.1f} dB around a smooth line"
    " (places: 4 dB and more)",
    "clusters": "its group of {samples} has links to outsiders for {value:.2f} of all it has,"
    " fewer than its claimed places promise",
}
NEEDS = {
    "slope": "links with RSSI, strong enough for every power step",
    "sent_slope": "a radio that sets its power, and three neighbours who hear it well",
    "reciprocity": "three links with RSSI both ways",
    "power": "three links with RSSI both ways",
    "one_way": "three trusted neighbours that it hears well, and one that hears it",
    "location": "two trusted neighbours that hear it with RSSI",
    "opportunity": "trusted neighbours in reach",
    "misfit": "trusted neighbours in reach",
    "place": "trusted neighbours in reach",
    "vouched": "somebody who reports it, and trusted neighbours in reach",
    "carried": "three links that were measured, in epochs far enough apart",
    "colocation": "four witnesses in common with somebody",
    "copying": "40 packets in common with another witness",
    "spectrum": "six neighbours with RSSI",
    "clusters": "seeds of trust",
}


def explain(scores: Scores, hotspot: int) -> list[dict[str, Any]]:
    """Every test on one hotspot: numbers, chance among the honest, and words.

    `p_value`: share of honest hotspots with as much evidence; None where the test abstains.
    """
    return [_explain(scores, hotspot, test) for test in TESTS]


def _explain(scores: Scores, hotspot: int, test: str) -> dict[str, Any]:
    outcome = scores.outcomes[test]
    surprise = float(scores.surprise[hotspot, TESTS.index(test)])
    if math.isnan(surprise):
        words = f"abstains: it needs {NEEDS[test]}"
        return {"test": test, "statistic": None, "nats": None, "p_value": None, "words": words}
    value, samples = float(outcome.statistic[hotspot]), int(outcome.samples[hotspot])
    other = int(outcome.other[hotspot])
    return {
        "test": test,
        "statistic": round(value, 3),
        "nats": round(float(outcome.nats[hotspot]), 3),
        "p_value": math.exp(-surprise),
        "samples": samples,
        "partner": None if other < 0 else other,
        "words": SAYS[test].format(value=value, samples=samples, other=other),
    }
