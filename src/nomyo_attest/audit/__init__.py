"""The audit: many recorded answers, a verdict for each, and what only shows across them."""
