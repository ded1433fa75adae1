"""Evidence for your own tests: valid, or wrong in exactly one way.

FOR TESTS ONLY. Anyone can derive every private key used here.

- `Forge`: a soft TPM and its response, which you can tamper with.
- `FAULTS`: ways in which evidence can be wrong, each with the only rule that detects it.
- `VARIANTS`: the kinds of valid evidence.

A test of your own gate::

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
    def test_gate_refuses_every_fault(fault):
        case = fault.case()
        policy = na.AppraisalPolicy.from_dict(case.policy)
        assert not my_gate(case.response, policy, **case.arguments)
"""

from __future__ import annotations

from nomyo_attest.testing.faults import FAULTS, Fault
from nomyo_attest.testing.faults.model import Arguments, Case
from nomyo_attest.testing.forge import STAGES, Forge, ForgedResponse
from nomyo_attest.testing.keys import ForgeError
from nomyo_attest.testing.variants import VARIANTS, Variant

__all__ = [
    "FAULTS",
    "STAGES",
    "VARIANTS",
    "Arguments",
    "Case",
    "Fault",
    "Forge",
    "ForgeError",
    "ForgedResponse",
    "Variant",
]
