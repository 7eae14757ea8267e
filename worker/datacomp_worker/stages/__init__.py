"""The stages of the pipeline, one file each. Each offers `run(context: StageContext) -> StageOutput`."""
