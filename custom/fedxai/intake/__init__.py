# SPDX-License-Identifier: Apache-2.0
"""A hospital's files become a cohort: taken in, split, checked, shown, or drawn by the phantom."""
