"""Several packages together, with the simulator on loopback."""
