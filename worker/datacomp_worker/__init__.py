"""The worker: claims runs from the server and carries out the stages of the pipeline."""
