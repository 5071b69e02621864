# SPDX-License-Identifier: Apache-2.0
"""A prediction becomes a map: saliency methods, one file each, found by their names.

A new method is one new file in this folder: a subclass of ``Method`` under ``@METHODS.register``.
"""

from fedxai.explain.answering import answering
from fedxai.explain.method import METHODS, Method
from fedxai.explain.one_batch import Explained, able, explain_batch
from fedxai.explain.probe import GradientPass, Probe
from fedxai.explain.question import Question
from fedxai.explain.registry import Registry

METHODS.discover(__name__, __path__)

__all__ = [
    "METHODS",
    "Explained",
    "GradientPass",
    "Method",
    "Probe",
    "Question",
    "Registry",
    "able",
    "answering",
    "explain_batch",
]
