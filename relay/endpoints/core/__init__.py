"""What endpoints share, whatever their transport."""
