"""`diffcut_teach`: the page on which a recording learns names."""
