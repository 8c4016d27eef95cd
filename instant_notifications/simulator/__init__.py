"""A gateway for development and tests: the recipient chooses what happens. See ``behaviours``."""
