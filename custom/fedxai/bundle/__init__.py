# SPDX-License-Identifier: Apache-2.0
"""MONAI bundles: opened, mapped onto the engine's names, read before anything runs, fingerprinted and approved."""

from fedxai.bundle.explain_config import ExplainConfig
from fedxai.bundle.open import Bundle, bundle_folder, bundle_roots

__all__ = ["Bundle", "ExplainConfig", "bundle_folder", "bundle_roots"]
