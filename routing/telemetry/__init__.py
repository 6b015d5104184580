"""What links did: a second of one in full, and bounded memories of many."""
