"""What all backends share: names, templates, weights, golden vectors."""
