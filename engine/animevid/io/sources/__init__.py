"""What frames come from: containers, images, cameras; anything of them that comes back after a break."""
