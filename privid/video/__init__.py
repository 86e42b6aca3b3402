"""The video store: catalog, segments, decoding into chunks."""
