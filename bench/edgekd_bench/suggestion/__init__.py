"""Which detectors meet a latency budget on this machine, before anyone trains one."""
