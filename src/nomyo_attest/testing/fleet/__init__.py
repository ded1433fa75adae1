"""Generate the responses of a synthetic fleet, with a firmware update and three anomalies, to try an audit.

FOR TESTS ONLY: the keys are public.

::

    fleet = Fleet(records=500, days=10)
    write_fleet(fleet, "fleet")

`ANOMALIES` lists what is wrong in every fleet; `Fleet.planted` lists the affected responses.
"""

from __future__ import annotations

from nomyo_attest.testing.fleet.fleet import ANOMALIES, Anomaly, Fleet, RecordedResponse, place_of, write_fleet

__all__ = ["ANOMALIES", "Anomaly", "Fleet", "RecordedResponse", "place_of", "write_fleet"]
