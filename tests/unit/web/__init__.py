"""What both services' HTTP has in common, without a server."""
