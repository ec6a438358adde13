"""Networks, one file each: a config, the network and its losses. PyTorch lives here."""
