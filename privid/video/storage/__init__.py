"""Where segment files lie: on a local disk, or in an object store."""
