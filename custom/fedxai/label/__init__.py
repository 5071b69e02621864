# SPDX-License-Identifier: Apache-2.0
"""Where MONAI Label calls us: the app that radiologists reach from their viewers, and the server that guards it."""
