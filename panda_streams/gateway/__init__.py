"""The gateway: the one read layer over all arms. It reads Redis only and holds no broker secret."""
