"""A viewer survey: a page that asks for the better of two images, stored votes, and a ranking."""
