"""The production cores of scheduler and host under one seed, a virtual clock and faults."""
