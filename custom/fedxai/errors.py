# SPDX-License-Identifier: Apache-2.0
"""One family of exceptions: each message is one sentence that names what is wrong and what to do."""


class FedxaiError(Exception):
    """Anything this package refuses; the command line prints it and exits with 1."""


class SettingsError(FedxaiError):
    """A setting or argument breaks its rule."""


class CohortError(FedxaiError):
    """A cohort, or a file on its way into one, cannot be used."""


class BundleError(FedxaiError):
    """A MONAI bundle is missing, incomplete or does not fit the cohort."""


class ExplanationError(FedxaiError):
    """A saliency method or score cannot answer for this network, layer, class or shape."""


class UpdateError(FedxaiError):
    """A model update has wrong names, shapes, dtypes or values that are not finite."""


class TrainingError(FedxaiError):
    """Local training cannot go on (for instance the loss is not finite)."""


class RunError(FedxaiError):
    """A federated run did not do what it was asked."""


class LedgerError(FedxaiError):
    """A ledger cannot be written, or does not hold what was written."""


class ReleaseError(FedxaiError):
    """What is about to cross a hospital's wall is not on its list; the sentence names the rule, never a value.

    Args:
        rule: one word for the ledger.
        sentence: for the sender.
    """

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(sentence)
        self.rule = rule
