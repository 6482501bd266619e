"""From the rig's file to everything recorded so far, on one scale."""
