"""hotspot-netd, the one process of a hotspot that may change the network (docs/netd.md)."""
