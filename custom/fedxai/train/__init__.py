# SPDX-License-Identifier: Apache-2.0
"""A site improves the model (Eq. 1) and says how well it diagnoses; the plain loops it is compared with."""
