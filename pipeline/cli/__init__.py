"""The command line `phygitals`: `main` says how commands are called, one module each says what they do."""
