"""What makes a run a service: configuration, systemd, health checks."""
