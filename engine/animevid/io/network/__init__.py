"""Network input and output: protocols, connections and error messages."""
