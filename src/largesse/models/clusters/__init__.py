"""HRC: clusters of a learned representation, their responses on the trial, and one classifier in their place.

Stable: the names that `largesse.models` exports; import them from there.
"""
