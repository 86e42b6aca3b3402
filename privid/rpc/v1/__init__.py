"""Generated from protos/privid/rpc/v1 by `make protos`; never edited."""
