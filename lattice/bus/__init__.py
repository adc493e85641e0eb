"""The one seam to the network: messages, keys, logs and objects, in memory or over NATS."""
