"""Where an audit's records come from: files, folders and a pipe, cut into chunks that are the same every time."""

from nomyo_attest.audit.sources.inventory import Inventory, InventoryError, take_inventory
from nomyo_attest.audit.sources.kinds import Source
from nomyo_attest.audit.sources.reading import read_chunks

__all__ = ["Inventory", "InventoryError", "Source", "read_chunks", "take_inventory"]
