"""Ray and local executors of many replays, with equal bytes."""
