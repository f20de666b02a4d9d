"""What the commands of `phygitals` do; `cli` says how they are called."""
