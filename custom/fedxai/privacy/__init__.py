# SPDX-License-Identifier: Apache-2.0
"""What may leave a site, what left, and what it cost."""
