"""A synthetic fleet's recorded responses, to try an audit on: a firmware roll-out, and three anomalies among them.

FOR TESTS ONLY. The keys are known to everybody.

::

    fleet = Fleet(records=500, days=10)
    write_fleet(fleet, "fleet")

`ANOMALIES` says what is wrong in every fleet, `Fleet.planted` which responses show it.
"""

from __future__ import annotations

from nomyo_attest.testing.fleet.fleet import ANOMALIES, Anomaly, Fleet, RecordedResponse, place_of, write_fleet

__all__ = ["ANOMALIES", "Anomaly", "Fleet", "RecordedResponse", "place_of", "write_fleet"]
