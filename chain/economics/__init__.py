"""What the rules come to in money, for owners, for the network and for those who attack it."""
