"""Ensembles as packages: folders that predict without Ray, MLflow or Optuna, and without unpickling anything."""

from dmlray.registry.package import Package, load_package

__all__ = ["Package", "load_package"]
