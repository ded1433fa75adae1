"""Cross-record checks: rules over all records of an audit, and their findings."""
