"""The parts of `bench_fidelity.py`: two harnesses, one loaded engine, a clock for both, and the figures of pairs."""
