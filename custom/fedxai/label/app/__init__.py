# SPDX-License-Identifier: Apache-2.0
"""The application that MONAI Label serves: the federated model at the radiologist's desk."""
