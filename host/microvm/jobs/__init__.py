"""Jobs for many machines: what one is, as lines of text, and the pool that they run in."""
