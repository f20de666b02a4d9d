"""What tests share: servers, processes, the reference reader, and steps on a workspace."""
