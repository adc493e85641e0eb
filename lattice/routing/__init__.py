"""Who answers a request: decisions from what is deployed, without I/O."""
