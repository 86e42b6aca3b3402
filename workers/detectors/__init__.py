"""Ready-made detectors that run in the guest."""
