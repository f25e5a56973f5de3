"""The demo: the real node in its own process, fed by a virtual camera in another, watched from a third."""
