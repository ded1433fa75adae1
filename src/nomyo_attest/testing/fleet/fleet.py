"""The answers that a fleet gave, with evidence: most right in every way, some part of one of three anomalies.

FOR TESTS ONLY, as all that the forge makes: the keys are known to everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from nomyo_attest.testing.fleet import anomalies
from nomyo_attest.testing.fleet.anomalies import Anomaly
from nomyo_attest.testing.fleet.draws import FIRST, choose, payload_id
from nomyo_attest.testing.fleet.machine import NEW, OLD, firmware_pcr, secure_boot_pcr
from nomyo_attest.testing.fleet.plan import Plan, Visit
from nomyo_attest.testing.forge import Forge

_TIERS: Final = ("standard",) * 6 + ("high",) * 3 + ("maximum",)


class Recorded(NamedTuple):
    """One answer as it was recorded.

    Attributes:
        number: from 0, in order of time.
        text: the response as JSON text.
    """

    number: int
    text: str


@dataclass(frozen=True)
class Fleet(Plan):
    """A made-up fleet. The same arguments make the same answers, byte for byte.

    Args:
        records: how many answers it gave, ten a day at the least.
        machines: how many machines it has: a quarter with an AIK that the policy names, the others with a new one for
            each answer.
        days: how many days, from 2026-01-01 on.
        seed: another seed, another fleet.
    """

    def answers(self) -> Iterator[Recorded]:
        """Every answer, in order of time."""
        for visit in self.visits:
            yield Recorded(visit.number, self._forge(visit).text())

    @cached_property
    def planted(self) -> Mapping[Anomaly, tuple[int, ...]]:
        """Each anomaly, and the answers that show it."""
        return {
            anomalies.SECURE_BOOT: tuple(sorted(self.odd)),
            anomalies.REPLAY: (self.original, self.replay),
            anomalies.SNAPSHOT: (self.restore - 1, self.restore),
        }

    def policy(self) -> dict[str, Any]:
        """The policy of the fleet's owner: old and new firmware, Secure Boot on, PCR 10 whatever it is, the AIKs
        pinned.
        """
        return {
            "format": "nomyo-attest-policy/1",
            "id": "example-fleet",
            "description": "The reference values of a made-up fleet. For tests only.",
            "pcrs": {
                "sha256": {
                    "0": [{"value": firmware_pcr(one).hex(), "label": one.label} for one in (OLD, NEW)],
                    "7": [{"value": secure_boot_pcr(on=True).hex(), "label": "Secure Boot on"}],
                    "10": "any",
                }
            },
            "key": {
                "hierarchy": ["endorsement"],
                "trust": "self_asserted",
                "pinned": [machine.forge(0, 0).answer().name.hex() for machine in self.fleet[: self.pinned]],
            },
            "firmware": {"versions": [f"0x{one.version:016x}" for one in (OLD, NEW)]},
            "claims": {"security_tier": ["standard", "high", "maximum"]},
        }

    def _forge(self, visit: Visit) -> Forge:
        # Evidence recorded again is made again: the same TPM, asked the same at the same time, signs the same.
        evidence = self.visits[self.original] if visit.number == self.replay else visit
        forge = self.fleet[evidence.machine].forge(evidence.time, evidence.number)
        forge.payload_id = payload_id(self.seed, evidence.number)
        forge.processed_at = FIRST + visit.time // 1000
        forge.security_tier = _TIERS[choose(self.seed, "tier", len(_TIERS), visit.number)]
        if visit.number in self.odd:
            forge.pcrs["sha256"][7] = secure_boot_pcr(on=False)
        if visit.number in self.unavailable:
            forge.tamper("tpm_attestation", lambda _: {"is_available": False})
        return forge
