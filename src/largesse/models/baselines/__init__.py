"""The papers' comparison methods, with the published network."""
