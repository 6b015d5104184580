"""The relay overlay: datagrams, links, streams, and the sessions that pay for them."""
