"""The engines behind `Catalogue`: one module for each."""
