"""The drive log: what the runtime saw, kept on disk within its quotas, and read again like any recording."""
