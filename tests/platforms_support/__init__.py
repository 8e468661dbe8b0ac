"""What tests of the platforms share."""
