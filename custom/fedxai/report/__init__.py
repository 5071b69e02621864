# SPDX-License-Identifier: Apache-2.0
"""What people read: the run report, the comparison, in-site gallery, TensorBoard events, console lines."""
