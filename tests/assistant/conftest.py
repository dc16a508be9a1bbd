from tests.toys import toy, toy_pipeline_class  # noqa: F401  fixtures
