"""An answer that the rig delivers in parts: block by block, or in any pieces, which become one finished file."""
