"""What a message costs, measured against a floor: ``make bench``, or ``python -m benchmarks``.

One server answers two routes: ours, and a bare view that does the same durable work by hand. They
are asked in turn within one run, so that a busy machine slows both and the ratio stays true.

``--what`` measures something else in the same way, two things in turn: ``feed`` a page of a long
feed and of a short one, ``counter`` many writers for one creator and for their own, ``upkeep``
sending with and without it, ``sync`` an upstream's feed written down and merely stored, ``bulk``
regular orders and the same by hand.
"""
