"""The floor: the least that a Django project can do and still keep what it was told."""
