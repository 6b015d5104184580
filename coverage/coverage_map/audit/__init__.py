"""Auditors: statistics over what hotspots reported, outside consensus, that anybody can repeat."""
