"""Read an audit's records from files, folders and a pipe, in reproducible chunks."""

from nomyo_attest.audit.sources.inventory import Inventory, InventoryError, take_inventory
from nomyo_attest.audit.sources.reading import read_chunks
from nomyo_attest.audit.sources.source import Source

__all__ = ["Inventory", "InventoryError", "Source", "read_chunks", "take_inventory"]
