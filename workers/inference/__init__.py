"""Models: trusted programs that run an analyst's graph for its guests, one confined process for each chunk."""
