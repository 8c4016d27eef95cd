"""How fast it is, measured: ``make bench``, or ``python -m benchmarks``; see docs/performance.md.

Two things are measured in turn, ours and a floor that does the same work by hand, or the same on
many rows and on few, so that a busy machine slows both and the ratio stays true.

Each of these measures something, and has ``tables_of`` and two efforts: ``goals`` (what has a goal,
of some of the others), ``load``, ``parts``, ``sending``, ``slow_gateway``, ``growth``, ``feed``,
``console``, ``counter``, ``upkeep``, ``sync``, ``bulk``. The rest serves them:

* ``figures`` compares and prints; ``page`` and ``picture`` write for the documentation.
* ``databases``, ``stored``, ``servers`` and ``stubs`` start what is needed, and end it; ``clients``
  and ``turns`` make it busy; ``machine`` tells how busy. None of them has Django.
* ``jobs`` is what a worker does: it has Django and one database. ``rows`` fills tables and
  ``messages`` says with what; ``spans`` takes a send apart.
* ``floor`` is the floor; ``settings`` and ``gateway`` make the project that is measured.
"""
