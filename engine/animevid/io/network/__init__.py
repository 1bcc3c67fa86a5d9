"""The way to and from the network: protocols, connections, and what is kept out of messages."""
