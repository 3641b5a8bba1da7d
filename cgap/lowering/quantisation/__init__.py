"""From real numbers to integers: calibration, options, quality."""
