"""HRC: clusters of a learned representation, their responses on the trial, and one classifier in their place."""
