# SPDX-License-Identifier: Apache-2.0
"""A folder exported from a PACS becomes a cohort: found, read to real numbers, stripped of who and when."""
