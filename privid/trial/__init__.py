"""Trying an executable on video that its author may see: in the sandbox or plainly, with logs, at no budget."""
