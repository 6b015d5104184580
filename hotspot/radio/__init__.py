"""Frames in and out: 802.11, radiotap, captures, and the door to the device."""
