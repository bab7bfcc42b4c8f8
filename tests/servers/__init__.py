"""Local servers that speak the venues' protocols, and misbehave on request."""
