"""MLflow: versions come from its model registry, and the outcomes of their rollouts go back as tags.

The only room that imports mlflow, and only inside functions: it is an extra. No call goes out unless a person
imports, or a version that was imported has an outcome.
"""
