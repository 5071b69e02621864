# SPDX-License-Identifier: Apache-2.0
"""Where NVIDIA FLARE calls us: unpack, call a room, pack."""
