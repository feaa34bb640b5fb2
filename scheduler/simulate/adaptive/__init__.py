"""Jobs that adapt batch and gang while they train, round by round."""
