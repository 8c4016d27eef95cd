"""What a message costs, measured against a floor: ``make bench``, or ``python -m benchmarks``.

One server answers two routes: ours, and a bare view that does the same durable work by hand. They
are asked in turn within one run, so that a busy machine slows both and the ratio stays true.
"""
