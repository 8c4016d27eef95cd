"""The suite. ``python -m tests`` runs it on every database that answers."""
