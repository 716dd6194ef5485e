"""Engines: who does the passes over units that no memory holds. No mathematics here."""
