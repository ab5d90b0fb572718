"""Write the translator yourself: a skeleton, a reference, and the grading by the labs' checks."""
