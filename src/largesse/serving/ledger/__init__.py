"""The ledger of a campaign in service: decisions, reservations, outcomes and the price, in SQLite or PostgreSQL.

Stable: the names that `largesse.serving` exports; import them from there.
"""
