"""The control plane: CodeArtifact's API, driven by botocore's service model."""
