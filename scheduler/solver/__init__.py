"""OR-Tools: exact placement rounds and bounds."""
