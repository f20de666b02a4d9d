"""The command line `phygitals`: `main` declares the commands, one module implements each."""
