"""The plain relay: it joins two connections that say the same word."""
