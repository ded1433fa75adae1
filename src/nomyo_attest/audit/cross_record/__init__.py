"""What one record cannot show: rules over all of them, and the findings they give."""
