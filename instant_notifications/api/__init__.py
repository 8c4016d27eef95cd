"""The REST API, compatible with the public Altinn Notifications API."""
