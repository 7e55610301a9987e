"""The pure core: plain values in, plain values out. No clock, no I/O, no framework; randomness comes from a seed."""
