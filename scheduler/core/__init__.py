"""The nouns: frozen dataclasses, units, errors, result records; no I/O."""
