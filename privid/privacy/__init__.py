"""The privacy calculus: stability, sensitivity, certificates, noise."""
