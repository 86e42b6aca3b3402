"""What a camera owner works with: policies as files, budget plots, reports."""
