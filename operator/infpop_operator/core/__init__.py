"""The pure core: functions from plain values to plain values. No clock, no I/O, no framework; randomness is seeded."""
