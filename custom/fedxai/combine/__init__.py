# SPDX-License-Identifier: Apache-2.0
"""Many answers become one: FedAvg over sites (Eq. 2), the global loss (Eq. 3), summaries, intervals over cases."""
