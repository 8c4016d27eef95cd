"""Send one time-critical SMS or e-mail now, exactly once, and know what became of it."""

__version__ = "1.0.0"
