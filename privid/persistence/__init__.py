"""From recorded video to a policy: how long what a camera shows stays, how often it returns, where it lingers."""
