"""What both incoming edges share."""
